"""LangChain: an unmodified `ChatOpenAI`, and an agent of `create_agent`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models import base

from integrations.framework import Framework, look

OPTIONS: dict[str, Any] = {"model": "toy", "max_tokens": 16, "max_retries": 0}


@contextmanager
def model() -> Iterator[ChatOpenAI]:
    """Open a model with connections of its own."""
    sync, other = openai.DefaultHttpxClient(), openai.DefaultAsyncHttpxClient()
    with sync:
        yield ChatOpenAI(**OPTIONS, http_client=sync, http_async_client=other)


def lasting_model() -> ChatOpenAI:
    """Return a model without an end, whose connections outlive no call and so no event loop."""
    return ChatOpenAI(
        **OPTIONS,
        default_headers={"Connection": "close"},
        http_client=openai.DefaultHttpxClient(),
        http_async_client=openai.DefaultAsyncHttpxClient(),
    )


class LangChain(Framework):
    name = "langchain"
    failure = getattr(base, "OpenAIConnectionError", openai.APIConnectionError)
    agent_stage = "model"
    agent_type = "clerk"

    def ask(self, text: str) -> str:
        with model() as llm:
            return str(llm.invoke(text).text)

    async def aask(self, text: str) -> str:
        with model() as llm:
            async with llm.http_async_client:
                return str((await llm.ainvoke(text)).text)

    def stream(self, text: str) -> str:
        with model() as llm:
            return "".join(str(chunk.text) for chunk in llm.stream(text))

    async def astream(self, text: str) -> str:
        with model() as llm:
            async with llm.http_async_client:
                return "".join([str(chunk.text) async for chunk in llm.astream(text)])

    def fan_out(self, num_calls: int) -> list[str]:
        with model() as llm:
            return [str(reply.text) for reply in llm.batch(["hi"] * num_calls)]

    def agent(self) -> Any:
        return create_agent(lasting_model(), tools=[tool(look)], name=self.agent_type)

    def run(self, thing: Any, text: str) -> str:
        return str(thing.invoke(asked(text))["messages"][-1].text)

    async def arun(self, thing: Any, text: str) -> str:
        return str((await thing.ainvoke(asked(text)))["messages"][-1].text)

    @contextmanager
    def caching(self) -> Iterator[None]:
        set_llm_cache(InMemoryCache())
        try:
            yield
        finally:
            set_llm_cache(None)


def asked(text: str) -> dict[str, Any]:
    """Return the input of an agent that is told *text*."""
    return {"messages": [{"role": "user", "content": text}]}


framework = LangChain()
