"""
What the contract asks of a framework: each file in ``frameworks/`` answers for one.

Such a file is named after the integration, imports its framework at the top, and holds an object
``framework`` of a class derived from `Framework`. Nothing is kept from one test to the next: every
method makes its clients anew, closes them, and sets retries low.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import justitia_sdk as justitia

Message = dict[str, Any]  # what the fake server's model answers, in OpenAI's form

ANSWER = "hello"  # the fake server's answer to everything, if not told otherwise
ASKED_FOR = "clause 7"
FOUND = f"{ASKED_FOR} stands"

seen: list[str | None] = []  # of each call of `look`: the application it was made in


def look(what: str) -> str:
    """Look something up."""
    application = justitia.current_application()
    seen.append(None if application is None else application.app_id)
    return f"{what} stands"


def tool_call(name: str, **arguments: Any) -> Message:
    """Return the answer of a model that calls a tool."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


class Framework(Protocol):
    """
    One framework, as its users use it.

    The server is where ``OPENAI_BASE_URL`` says, with ``OPENAI_API_KEY``; the model is ``toy``,
    ``max_tokens`` 16. Methods with a body here may be left out where the framework has no such
    thing; so may attributes with a value.

    Attributes:
        name: Of the module in `justitia_integrations`.
        failure: What a user of the framework gets when the server cannot be reached.
        agent_stage: Stage label of the agent's calls under `instrument`; None: none is promised.
        agent_type: Name of the application that a run of the agent becomes; None: not promised.
        agent_replies: What the model answers, call by call, until `ANSWER`, so that the agent
            calls ``look(what="clause 7")`` once.
        answer: What the agent's run returns, given those replies.
        knows_runs: Whether `instrument` makes a top-level run an application of its own.
        makes_do_with_noise: Whether a run of the agent can end well with a model of noise.
    """

    name: str
    failure: type[BaseException]
    agent_stage: str | None = None
    agent_type: str | None = None
    agent_replies: Sequence[Message] = (tool_call("look", what=ASKED_FOR),)
    answer: str = ANSWER
    knows_runs: bool = True
    makes_do_with_noise: bool = True

    @property
    def integration(self) -> Any:
        """The module with `instrument`, `uninstrument`, `application` and `plan_of`."""
        return importlib.import_module(f"justitia_integrations.{self.name}")

    def ask(self, text: str) -> str:
        """Return the model's answer to one plain call."""
        ...

    async def aask(self, text: str) -> str:
        """Return the same, asynchronously."""
        raise NotImplementedError

    def stream(self, text: str) -> str:
        """Return the same, streamed and put together."""
        raise NotImplementedError

    async def astream(self, text: str) -> str:
        """Return the same, streamed asynchronously."""
        raise NotImplementedError

    def fan_out(self, num_calls: int) -> list[str]:
        """Return the answers to so many calls made at once, in the framework's own way."""
        raise NotImplementedError

    def agent(self) -> Any:
        """Return an agent (chain, crew, module) with one tool: `look`."""
        raise NotImplementedError

    def run(self, thing: Any, text: str) -> str:
        """Return what the agent says to *text*."""
        raise NotImplementedError

    async def arun(self, thing: Any, text: str) -> str:
        """Return the same, asynchronously."""
        raise NotImplementedError

    def caching(self) -> AbstractContextManager[object]:
        """Return a block in which `ask` uses the framework's cache, empty at its beginning."""
        raise NotImplementedError

    def has(self, feature: str) -> bool:
        """Return whether the framework has such a method, or what the flag says."""
        value = getattr(type(self), feature)
        return value if isinstance(value, bool) else value is not getattr(Framework, feature)
