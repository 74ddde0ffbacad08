"""PydanticAI on the official client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelConnectionError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from integrations.framework import Framework, look


def model(client: openai.AsyncOpenAI) -> OpenAIChatModel:
    """Return the model of one run; the agent has none of its own."""
    provider = OpenAIProvider(openai_client=client)
    return OpenAIChatModel("toy", provider=provider, settings={"max_tokens": 16})


@contextmanager
def own_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give `run_sync` an event loop of its own, which it would else make and leave open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        asyncio.set_event_loop(None)
        loop.close()


class PydanticAI(Framework):
    name = "pydantic_ai"
    failure = ModelConnectionError
    agent_stage = "clerk"
    agent_type = "clerk"

    def ask(self, text: str) -> str:
        return self.run(Agent(name="asker"), text)

    async def aask(self, text: str) -> str:
        return await self.arun(Agent(name="asker"), text)

    def stream(self, text: str) -> str:
        client = openai.AsyncOpenAI(max_retries=0)
        with own_loop() as loop:
            try:
                with Agent(name="asker").run_stream_sync(text, model=model(client)) as result:
                    return "".join(result.stream_text(delta=True))
            finally:
                loop.run_until_complete(client.close())

    async def astream(self, text: str) -> str:
        async with (
            openai.AsyncOpenAI(max_retries=0) as client,
            Agent(name="asker").run_stream(text, model=model(client)) as result,
        ):
            return "".join([part async for part in result.stream_text(delta=True)])

    def fan_out(self, num_calls: int) -> list[str]:
        async def all_of_them() -> list[str]:
            return await asyncio.gather(*(self.aask("hi") for _ in range(num_calls)))

        return asyncio.run(all_of_them())

    def agent(self) -> Agent[None, str]:
        return Agent(name="clerk", tools=[look])

    def run(self, thing: Agent[Any, str], text: str) -> str:
        client = openai.AsyncOpenAI(max_retries=0)
        with own_loop() as loop:
            try:
                return thing.run_sync(text, model=model(client)).output
            finally:
                loop.run_until_complete(client.close())

    async def arun(self, thing: Agent[Any, str], text: str) -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            return (await thing.run(text, model=model(client))).output


framework = PydanticAI()
