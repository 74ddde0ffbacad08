"""The official client, with no framework on top: hints by `justitia_sdk.instrument`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from types import SimpleNamespace
from typing import Any

import openai

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
OPTIONS: dict[str, Any] = {"model": "toy", "max_tokens": 16}


def said(text: str) -> dict[str, Any]:
    """Return the options of a call that says *text*."""
    return {**OPTIONS, "messages": [{"role": "user", "content": text}]}


def application(
    thing: Agent,
    name: str | None = None,
    *,
    input: object = None,
    plan: justitia.Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> Agent:
    """Return the function decorated: what an integration's `application` is to its framework."""
    told = {"input": input, "plan": plan, "weight": weight, "deadline_s": deadline_s}
    return justitia.application(name or thing.__name__, **told)(thing)


class OpenAI(Framework):
    name = "openai"
    failure = openai.APIConnectionError
    knows_runs = False
    integration = SimpleNamespace(
        instrument=justitia.instrument,
        uninstrument=justitia.uninstrument,
        application=application,
        plan_of=lambda thing: None,
    )

    def ask(self, text: str) -> str:
        with openai.OpenAI(max_retries=0) as client:
            reply = client.chat.completions.create(**said(text))
        return reply.choices[0].message.content or ""

    async def aask(self, text: str) -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            reply = await client.chat.completions.create(**said(text))
        return reply.choices[0].message.content or ""

    def stream(self, text: str) -> str:
        with openai.OpenAI(max_retries=0) as client:
            chunks = client.chat.completions.create(**said(text), stream=True)
            return "".join(part.choices[0].delta.content or "" for part in chunks if part.choices)

    async def astream(self, text: str) -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            chunks = await client.chat.completions.create(**said(text), stream=True)
            parts = [part.choices[0].delta.content or "" async for part in chunks if part.choices]
        return "".join(parts)

    def fan_out(self, num_calls: int) -> list[str]:
        with ThreadPoolExecutor(num_calls) as pool:
            asked = [pool.submit(copy_context().run, self.ask, "hi") for _ in range(num_calls)]
            return [future.result() for future in asked]

    def agent(self) -> Agent:
        async def agent(text: str) -> str:
            async with openai.AsyncOpenAI(max_retries=0) as client:
                return await self._loop(client, text)

        return agent

    async def _loop(self, client: openai.AsyncOpenAI, text: str) -> str:
        options = {**said(text), "tools": [TOOL]}
        while True:
            reply = await client.chat.completions.create(**options)
            message = reply.choices[0].message
            if not message.tool_calls:
                return message.content or ""
            options["messages"].append(message.model_dump(exclude_none=True))
            options["messages"] += [self._use_tool(call) for call in message.tool_calls]

    def _use_tool(self, call: Any) -> dict[str, Any]:
        application = justitia.current_application()
        with application.tool("look") if application else nullcontext():
            content = look(**json.loads(call.function.arguments))
        return {"role": "tool", "tool_call_id": call.id, "content": content}

    def run(self, thing: Agent, text: str) -> str:
        return asyncio.run(thing(text))

    async def arun(self, thing: Agent, text: str) -> str:
        return await thing(text)


framework = OpenAI()
