"""CrewAI: its native OpenAI provider, and a crew of one lawyer with one task."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Before CrewAI is imported: it reports to its makers, asks the user, and keeps what tasks said.
os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CREWAI_DISABLE_VERSION_CHECK", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")
os.environ.setdefault("CREWAI_TESTING", "true")
os.environ.setdefault("CREWAI_STORAGE_DIR", tempfile.mkdtemp(prefix="justitia-crewai-"))

import openai
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool

from integrations.framework import Framework, look


def model(**options: Any) -> Any:
    """Return a model, with a client of its own."""
    return LLM(
        model="toy",
        provider="openai",
        base_url=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        max_tokens=16,
        max_retries=0,
        timeout=5.0,
        **options,
    )


def agent(role: str = "lawyer", **options: Any) -> Agent:
    """Return an agent that is told nothing but its role."""
    told = {"goal": "Answer.", "backstory": "Brief.", "max_retry_limit": 0, "llm": model()}
    return Agent(role=role, **{**told, **options})


def task(agent: Agent | None, **options: Any) -> Task:
    """Return a task that is to answer a question."""
    return Task(description="Answer: {question}", expected_output="text", agent=agent, **options)


class CrewAI(Framework):
    name = "crewai"
    failure = ConnectionError
    agent_stage = "answer"
    agent_type = "law_firm"

    def ask(self, text: str) -> str:
        return str(model().call(text))

    async def aask(self, text: str) -> str:
        return str(await model().acall(text))

    def stream(self, text: str) -> str:
        with self._same_failure():
            return str(model(stream=True).call(text))

    async def astream(self, text: str) -> str:
        with self._same_failure():
            return str(await model(stream=True).acall(text))

    @contextmanager
    def _same_failure(self) -> Iterator[None]:
        """Streamed calls of CrewAI let through what the others translate to `failure`."""
        try:
            yield
        except openai.APIConnectionError as exc:
            raise self.failure(str(exc)) from exc

    def fan_out(self, num_calls: int) -> list[str]:
        alone = agent()
        crew = Crew(agents=[alone], tasks=[task(alone)])
        questions = [{"question": str(number)} for number in range(num_calls)]
        answers: Any = asyncio.run(crew.kickoff_for_each_async(questions))
        return [answer.raw for answer in answers]

    def agent(self) -> Crew:
        lawyer = agent(tools=[tool("look")(look)])
        return Crew(name="law_firm", agents=[lawyer], tasks=[task(lawyer, name="answer")])

    def run(self, thing: Crew, text: str) -> str:
        return str(thing.kickoff({"question": text}))

    async def arun(self, thing: Crew, text: str) -> str:
        return str(await thing.akickoff({"question": text}))


framework = CrewAI()
