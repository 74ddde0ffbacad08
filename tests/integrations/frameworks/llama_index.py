"""LlamaIndex: `OpenAILike`, which asks nothing of a model's name, and a `FunctionAgent`."""

from __future__ import annotations

import os
from typing import Any

import openai
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.async_utils import asyncio_run, run_jobs
from llama_index.llms.openai_like import OpenAILike

from integrations.framework import Framework, look


def model(**options: Any) -> OpenAILike:
    """Return a model; it makes a client for each call, as asynchronous tests have loops of own."""
    return OpenAILike(
        model="toy",
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
        max_tokens=16,
        max_retries=0,
        reuse_client=False,
        **options,
    )


class LlamaIndex(Framework):
    name = "llama_index"
    failure = openai.APIConnectionError
    agent_stage = "lawyer"
    agent_type = "lawyer"

    def ask(self, text: str) -> str:
        with openai.DefaultHttpxClient() as http:
            return str(model(http_client=http).complete(text))

    async def aask(self, text: str) -> str:
        async with openai.DefaultAsyncHttpxClient() as http:
            return str(await model(async_http_client=http).acomplete(text))

    def stream(self, text: str) -> str:
        with openai.DefaultHttpxClient() as http:
            parts = model(http_client=http).stream_complete(text)
            return "".join(part.delta or "" for part in parts)

    async def astream(self, text: str) -> str:
        async with openai.DefaultAsyncHttpxClient() as http:
            parts = await model(async_http_client=http).astream_complete(text)
            return "".join([part.delta or "" async for part in parts])

    def fan_out(self, num_calls: int) -> list[str]:
        jobs = run_jobs([self.aask("hi") for _ in range(num_calls)], workers=num_calls)
        answers: list[str] = asyncio_run(jobs)
        return answers

    def agent(self) -> FunctionAgent:
        return FunctionAgent(name="lawyer", tools=[look], llm=model())

    def run(self, thing: FunctionAgent, text: str) -> str:
        return str(asyncio_run(self.arun(thing, text)))

    async def arun(self, thing: FunctionAgent, text: str) -> str:
        return str(await thing.run(text))


framework = LlamaIndex()
