"""
A LangGraph graph that finds out its fan-out as it runs; one line makes it an application.

Covers: `langgraph.instrument`, nodes as stages, a `Send` that is announced before its calls.
Scenario: the clauses of a contract are checked at once, and the findings are put together.

    justitia serve --toy        # in another terminal
    python examples/langgraph_graph.py
"""

from __future__ import annotations

import operator
import os
from typing import Annotated, TypedDict

from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.types import Send

import justitia_sdk as justitia
from justitia_integrations import langgraph

langgraph.instrument()
URL = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
KEY = os.environ.get("OPENAI_API_KEY", "none")
MODEL = os.environ.get("OPENAI_MODEL", "toy")
llm = ChatOpenAI(base_url=URL, api_key=KEY, model=MODEL, max_tokens=24)


class State(TypedDict):
    """A contract or a clause of it, and what was found."""

    text: str
    findings: Annotated[list[str], operator.add]


def split(state: State) -> list[Send]:
    """Send each clause to a check of its own."""
    return [Send("check", {"text": clause}) for clause in state["text"].split("; ")]


def check(state: State) -> dict[str, list[str]]:
    """Check one clause."""
    return {"findings": [llm.invoke(f"Is this valid? {state['text']}").text]}


def report(state: State) -> dict[str, list[str]]:
    """Put the findings together."""
    if app := justitia.current_application():
        print(f"application {app.app_id} ({app.type})\n{app.plan}")
    return {"findings": [llm.invoke(f"Sum up: {' '.join(state['findings'])[:200]}").text]}


if __name__ == "__main__":
    graph = StateGraph(State).add_node(check).add_node(report)
    graph.add_conditional_edges(START, split, ["check"]).add_edge("check", "report")
    contract = {"text": "Wool goes out; wine comes in; the sand stays", "findings": []}
    graph.compile(name="contract_review").invoke(contract)
