"""
Agents that hand over to one another, written with the OpenAI Agents SDK; one line is Justitia's.

Covers: `openai_agents.instrument()`; handoffs; the Responses API; typed output.
Scenario: two tickets come in at once. Each is an application of two calls: `triage` hands over to
`billing` or `repairs`, which says how soon somebody calls back.

    justitia serve --toy        # in another terminal
    python examples/openai_agents_triage.py
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Literal

from agents import Agent, ModelSettings, RunConfig, Runner, set_default_openai_client
from openai import AsyncOpenAI
from pydantic import BaseModel

from justitia_integrations import openai_agents

TICKETS = ["The pump is loud and hot.", "I paid invoice 17 twice."]


class Callback(BaseModel):
    """What a customer is told."""

    within_days: Literal[1, 2, 7]


def triage() -> Agent[Any]:
    """Return the agent that takes a ticket first; it must hand over."""
    desks = [Agent(name=name, output_type=Callback) for name in ("billing", "repairs")]
    must = ModelSettings(tool_choice="required", parallel_tool_calls=False)
    return Agent(name="triage", handoffs=list(desks), model_settings=must)


async def main() -> None:
    """Answer both tickets at the same time."""
    openai_agents.instrument()
    url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    async with AsyncOpenAI(
        base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none")
    ) as client:
        set_default_openai_client(client)
        config = RunConfig(model=os.environ.get("OPENAI_MODEL", "toy"), tracing_disabled=True)
        runs = (Runner.run(triage(), ticket, run_config=config) for ticket in TICKETS)
        for result in await asyncio.gather(*runs):
            print(f"triage → {result.last_agent.name}: {result.final_output}")


if __name__ == "__main__":
    asyncio.run(main())
