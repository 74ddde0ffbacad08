"""
LiteLLM: no framework of agents, so the agent is a loop written on it.

With tools it imports `mcp`, and for a cache hit `soundfile`, which it does not install by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # asks the internet otherwise

import litellm
import mcp  # noqa: F401
import soundfile  # noqa: F401

import justitia_sdk as justitia
from integrations.framework import Framework, look

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look something up.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}},
    },
}
Agent = Callable[[str], Awaitable[str]]


def options(text: str, **more: Any) -> dict[str, Any]:
    """Return the arguments of a call that says *text*."""
    messages = [{"role": "user", "content": text}]
    return {"model": "openai/toy", "messages": messages, "max_tokens": 16, "max_retries": 0, **more}


def content_of(reply: Any) -> str:
    return str(reply.choices[0].message.content or "")


class LiteLLM(Framework):
    name = "litellm"
    failure = litellm.InternalServerError
    knows_runs = False

    def ask(self, text: str) -> str:
        return content_of(litellm.completion(**options(text)))

    async def aask(self, text: str) -> str:
        return content_of(await litellm.acompletion(**options(text)))

    def stream(self, text: str) -> str:
        parts = litellm.completion(**options(text, stream=True))
        return "".join(part.choices[0].delta.content or "" for part in parts)

    async def astream(self, text: str) -> str:
        parts = await litellm.acompletion(**options(text, stream=True))
        return "".join([part.choices[0].delta.content or "" async for part in parts])

    def fan_out(self, num_calls: int) -> list[str]:
        messages = [[{"role": "user", "content": "hi"}]] * num_calls
        replies = litellm.batch_completion(**{**options("hi"), "messages": messages})
        return [content_of(reply) for reply in replies]

    def agent(self) -> Agent:
        async def agent(text: str) -> str:
            messages: list[Any] = [{"role": "user", "content": text}]
            while True:
                asked = options(text, messages=messages, tools=[TOOL])
                message = (await litellm.acompletion(**asked)).choices[0].message
                if not message.tool_calls:
                    return message.content or ""
                messages.append(message.model_dump(exclude_none=True))
                messages += [use_tool(call) for call in message.tool_calls]

        return agent

    def run(self, thing: Agent, text: str) -> str:
        return asyncio.run(thing(text))

    async def arun(self, thing: Agent, text: str) -> str:
        return await thing(text)

    @contextmanager
    def caching(self) -> Iterator[None]:
        litellm.cache = litellm.Cache(type="local")
        yield
        litellm.cache = None


def use_tool(call: Any) -> dict[str, Any]:
    """Return what the tool says; to tell its time is left to those who call tools."""
    application = justitia.current_application()
    with application.tool("look") if application else nullcontext():
        content = look(**json.loads(call.function.arguments))
    return {"role": "tool", "tool_call_id": call.id, "content": content}


framework = LiteLLM()
