"""The OpenAI Agents SDK with chat completions; ``test_openai_agents.py`` has both its APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    RunConfig,
    Runner,
    function_tool,
)
from openai.types.responses import ResponseTextDeltaEvent

from integrations.framework import Framework, look


def config(client: openai.AsyncOpenAI) -> RunConfig:
    """Return what makes a run use *client*; the agent has no model of its own."""
    return RunConfig(
        model=OpenAIChatCompletionsModel("toy", client),
        model_settings=ModelSettings(max_tokens=16),
        tracing_disabled=True,
    )


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


class OpenAIAgents(Framework):
    name = "openai_agents"
    failure = openai.APIConnectionError
    agent_stage = "clerk"
    agent_type = "clerk"

    def ask(self, text: str) -> str:
        return self.run(Agent(name="asker"), text)

    async def aask(self, text: str) -> str:
        return await self.arun(Agent(name="asker"), text)

    async def astream(self, text: str) -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            result = Runner.run_streamed(Agent(name="asker"), text, run_config=config(client))
            events = [
                event.data async for event in result.stream_events() if hasattr(event, "data")
            ]
        return "".join(each.delta for each in events if isinstance(each, ResponseTextDeltaEvent))

    def fan_out(self, num_calls: int) -> list[str]:
        async def all_of_them() -> list[str]:
            return await asyncio.gather(*(self.aask("hi") for _ in range(num_calls)))

        return asyncio.run(all_of_them())

    def agent(self) -> Agent[Any]:
        return Agent(name="clerk", tools=[function_tool(look)])

    def run(self, thing: Agent[Any], text: str) -> str:
        client = openai.AsyncOpenAI(max_retries=0)
        with own_loop() as loop:
            try:
                result = Runner.run_sync(thing, text, run_config=config(client))
            finally:
                loop.run_until_complete(client.close())
        return str(result.final_output)

    async def arun(self, thing: Agent[Any], text: str) -> str:
        async with openai.AsyncOpenAI(max_retries=0) as client:
            result = await Runner.run(thing, text, run_config=config(client))
        return str(result.final_output)


framework = OpenAIAgents()
