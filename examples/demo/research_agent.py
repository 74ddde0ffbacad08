"""
Answer a question with a LangChain agent that really calls its tools.

A model of noise would never ask for a tool by itself. So a middleware names the tool of each turn,
guided decoding makes the model write arguments that fit the tool's schema, and the tool then runs
on whatever they say. With a real model leave the middleware out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from corpus import documents, paragraphs
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from lengths import as_the_schema_asks, exactly
from pydantic import Field

import justitia_sdk as justitia

ANSWER_TOKENS = 160

DocumentName = Literal[
    "harbour_history", "incident_report", "pump_manual", "reader_interviews", "service_agreement"
]
Number = Annotated[int, Field(ge=0, le=999)]


@tool
def read_paragraph(document: DocumentName, number: Annotated[int, Field(ge=0, le=29)]) -> str:
    """Read one paragraph of a document."""
    parts = paragraphs(document)
    return parts[number % len(parts)]


@tool
def count_words(document: DocumentName) -> int:
    """Count the words of a document."""
    return len(documents()[document].split())


@tool
def calculate(a: Number, operation: Literal["plus", "minus", "times"], b: Number) -> int:
    """Calculate with two whole numbers."""
    return {"plus": a + b, "minus": a - b, "times": a * b}[operation]


class ScriptedTools(AgentMiddleware):
    """Name the tool of each turn; when the script has run out, have the agent answer."""

    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self._script = script

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        """Choose the tool by the number of tools that have answered."""
        turn = sum(isinstance(message, ToolMessage) for message in request.messages)
        choice: Any = "none"
        settings = exactly(ANSWER_TOKENS)
        if turn < len(self._script):
            choice = {"type": "function", "function": {"name": self._script[turn]}}
            settings = as_the_schema_asks()
        settings["strict"] = True
        return handler(request.override(tool_choice=choice, model_settings=settings))


def answer(question: str, script: list[str], *, llm: ChatOpenAI) -> str:
    """Return the agent's answer to *question*, after the tools of *script*."""
    agent = create_agent(
        llm,
        tools=[read_paragraph, count_words, calculate],
        system_prompt="Answer from the documents. Quote what you rely on.",
        middleware=[ScriptedTools(script)],
    )
    with justitia.application("research_agent", input=question, plan=plan_of(script)):
        result = agent.invoke({"messages": [{"role": "user", "content": question}]})
    return str(result["messages"][-1].content)


def plan_of(script: list[str]) -> justitia.Plan:
    """Return the least a user of an agent knows: about how many turns it takes."""
    turn = justitia.Stage("tools", loop=len(script), prompt_tokens=900, output_tokens=150)
    return justitia.Plan(
        (turn, justitia.Stage("answer", prompt_tokens=1100, output_tokens=ANSWER_TOKENS))
    )
