"""
A LangChain agent, each run of which is an application, with a receipt for each.

Covers: `JustitiaMiddleware` with an unmodified `ChatOpenAI`; `langchain.application`; the receipt
as an event of LangChain's callbacks.
Scenario: a clerk with one tool answers two questions at once, as two applications; after the end
of each the server tells how long it waited and when fair sharing would have been done with it.

    justitia serve --toy        # in another terminal
    python examples/langchain_agent.py
"""

from __future__ import annotations

import os
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from justitia_integrations import langchain

QUESTIONS = ("Is clause 7 valid?", "When does clause 8 end?")


@tool
def look_up(clause: str) -> str:
    """Look up a clause of the contract."""
    return f"Clause {clause} stands until the end of the year."


class Bill(BaseCallbackHandler):
    """Prints the receipt of each run."""

    def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        """Take the receipt, some time after the run."""
        if name == "justitia_receipt":
            print(f"application {data}")


def main() -> None:
    """Let the clerk answer, and print what each answer took."""
    llm = ChatOpenAI(
        base_url=os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1"),
        api_key=os.environ.get("OPENAI_API_KEY", "none"),
        model=os.environ.get("OPENAI_MODEL", "toy"),
        max_tokens=24,
    )
    agent = create_agent(llm, tools=[look_up], middleware=[langchain.JustitiaMiddleware()])
    clerk = langchain.application(agent, "clerk")
    questions = [{"messages": [{"role": "user", "content": each}]} for each in QUESTIONS]
    clerk.batch(questions, {"callbacks": [Bill()]})


if __name__ == "__main__":
    main()
