"""
An agent that was there before Justitia: two lines are added, none is changed.

Covers: `instrument()` with an unmodified LangChain agent and `ChatOpenAI`.
Scenario: an agent with a calculator is asked two questions, one after the other; the server sees
one application with all its calls, however many turns the agent takes.

    justitia serve --toy        # in another terminal
    python examples/existing_agent.py
"""

from __future__ import annotations

import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import justitia_sdk as justitia  # added

justitia.instrument()  # added: from here on every official OpenAI client sends hints


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two whole numbers."""
    return a * b


def main() -> None:
    """Ask the agent two questions, as one application."""
    llm = ChatOpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        model=os.environ.get("OPENAI_MODEL", "toy"),
        max_tokens=48,
    )
    agent = create_agent(llm, tools=[multiply], system_prompt="You are good at arithmetic.")
    questions = ("How much is 6 times 7?", "And 7 times 8?")

    messages: list[Any] = []
    with justitia.application("arithmetic", input=questions[0]) as app:
        for question in questions:
            messages.append({"role": "user", "content": question})
            messages = agent.invoke({"messages": messages})["messages"]

    num_calls = sum(message.type == "ai" for message in messages)
    print(f"application {app.app_id} ({app.type}), calls: {num_calls}")


if __name__ == "__main__":
    main()
