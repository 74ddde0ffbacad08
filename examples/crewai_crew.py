"""
A CrewAI crew that was there before Justitia: one line is added.

Covers: `justitia_integrations.crewai.instrument()`, kickoffs as applications, tasks as stages.
Scenario: of each of two letters two readers say at once what they see in it, and an editor joins
their opinions; the server sees two applications of three calls.

    justitia serve --toy        # in another terminal
    python examples/crewai_crew.py
"""

import logging
import os

logging.getLogger("crewai").setLevel(logging.ERROR)  # it cannot count the toy model's tokens
for name in ("DISABLE_TELEMETRY", "DISABLE_VERSION_CHECK", "TESTING"):  # a quiet run
    os.environ.setdefault(f"CREWAI_{name}", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")

from crewai import LLM, Agent, Crew, Task  # noqa: E402

from justitia_integrations import crewai as justitia_crewai  # noqa: E402

justitia_crewai.instrument()  # added: every kickoff is an application from here on


def crew() -> Crew:
    """Return two readers, who work at the same time, and an editor."""
    llm = LLM(
        model=os.environ.get("OPENAI_MODEL", "toy"),
        provider="openai",
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        max_tokens=24,
    )

    def task(role: str, description: str, **options: object) -> Task:
        agent = Agent(role=role, goal="Help.", backstory="Brief.", llm=llm)
        return Task(description=description, expected_output="text", agent=agent, **options)

    readers = [
        task(role, "Say what you see in this letter: {letter}", async_execution=True)
        for role in ("lawyer", "engineer")
    ]
    tasks = [*readers, task("editor", "Join the opinions.", context=readers)]
    return Crew(name="mail_room", agents=[each.agent for each in tasks], tasks=tasks)


def main() -> None:
    """Have the letters read."""
    letters = ("The pump is loud and I want my money back.", "Thank you for the new pump.")
    results = crew().kickoff_for_each([{"letter": letter} for letter in letters])
    print(f"mail_room: {len(results)} applications of {len(results[0].tasks_output)} calls")


if __name__ == "__main__":
    main()
