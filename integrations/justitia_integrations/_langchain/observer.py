"""
The callback handler that sees chains, models and tools begin and end.

It labels calls, takes the time of tools, and announces what a reply or a node is about to ask for.
LangChain attaches it to every run inside an application (`register_configure_hook`). It changes no
request, which callbacks cannot do, and never raises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

import justitia_sdk
from justitia_sdk import Application

from .._adapter import logger, tool_time
from .calls import note_label
from .places import beside, node_of
from .structure import Observation, observation_of

timed: ContextVar[str | None] = ContextVar("justitia_timed", default=None)  # id of a tool call


class Observer(BaseCallbackHandler):
    """One for all runs: what it sees is kept with the application."""

    run_inline = True  # in the run's own task, so that it knows the application and passes labels

    def on_chain_start(self, serialized: Any, inputs: Any, **run: Any) -> None:
        """Remember where it runs."""
        _see(_begins, **run)

    def on_chain_end(self, outputs: Any, **run: Any) -> None:
        """Announce the tasks it sends."""
        _see(_sends, outputs, **run)

    def on_chain_error(self, error: BaseException, **run: Any) -> None:
        """Forget it, and all that ran in it."""
        _see(_ends, **run)

    def on_tool_start(self, serialized: Any, input_str: str, **run: Any) -> None:
        """Take the time from now on."""
        _see(_uses_tool, serialized, **run)

    def on_tool_end(self, output: Any, **run: Any) -> None:
        """Take the time until now."""
        _see(_ends, **run)

    def on_tool_error(self, error: BaseException, **run: Any) -> None:
        """Take the time until now."""
        _see(_ends, **run)

    def on_chat_model_start(self, serialized: Any, messages: Any, **run: Any) -> None:
        """Label the call that is about to be made."""
        _see(_calls, **run)

    def on_llm_start(self, serialized: Any, prompts: Any, **run: Any) -> None:
        """Label the call that is about to be made."""
        _see(_calls, **run)

    def on_llm_end(self, response: Any, **run: Any) -> None:
        """Announce the tools that the reply asks for, and the turn after them."""
        _see(_replies, response, **run)


def _see(note: Callable[..., None], *facts: Any, **run: Any) -> None:
    """Take note of what happened inside an application; never raises."""
    try:
        if (application := justitia_sdk.current_application()) is not None:
            note(application, observation_of(application), *facts, **run)
    except Exception:
        logger.debug("run_not_observed", exc_info=True)


def _begins(
    application: Application,
    observation: Observation,
    *,
    run_id: UUID,
    parent_run_id: UUID | None = None,
    tags: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    tool: Any = None,
    **_: Any,
) -> None:
    place = observation.place(parent_run_id, tags, node_of(metadata))
    observation.begin(run_id, parent_run_id, place, tool)


def _ends(application: Application, observation: Observation, *, run_id: UUID, **_: Any) -> None:
    observation.end(run_id)


def _sends(
    application: Application, observation: Observation, outputs: Any, *, run_id: UUID, **_: Any
) -> None:
    node = observation.end(run_id).node
    sent = Counter(each.node for each in _sent_in(outputs))
    if sent and node is not None and justitia_sdk.current_stage() is None:
        observation.send(application, {beside(node, name): num for name, num in sent.items()})


def _sent_in(outputs: Any) -> Iterator[Any]:
    """Yield what a node or a branch sends, as LangGraph's `Send`, whose name tells it."""
    for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
        if type(output).__name__ == "Command":
            yield from _sent_in(output.goto)
        elif type(output).__name__ == "Send":
            yield output


def _uses_tool(
    application: Application,
    observation: Observation,
    serialized: Any,
    *,
    tool_call_id: str | None = None,
    **run: Any,
) -> None:
    tool = None
    if tool_call_id is None or tool_call_id != timed.get():
        tool = tool_time(str((serialized or {}).get("name") or "tool"))
        tool.__enter__()
    _begins(application, observation, tool=tool, **run)


def _calls(
    application: Application,
    observation: Observation,
    *,
    run_id: UUID,
    parent_run_id: UUID | None = None,
    tags: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    **_: Any,
) -> None:
    label = observation.place(parent_run_id, tags, node_of(metadata)).label
    note_label(label)
    observation.call(run_id, justitia_sdk.current_stage() or label)


def _replies(
    application: Application,
    observation: Observation,
    response: Any,
    *,
    parent_run_id: UUID | None = None,
    tags: list[str] | None = None,
    **_: Any,
) -> None:
    stage = observation.place(parent_run_id, tags, None).label
    num_tools = sum(len(calls) for calls in _tool_calls(response))
    if stage is None or not num_tools or justitia_sdk.current_stage() not in (None, stage):
        return
    if (tools := observation.tools_of(stage)) is not None:
        observation.turn(application, stage, tools, num_tools)


def _tool_calls(response: Any) -> Iterator[list[Any]]:
    for generations in response.generations:
        for generation in generations:
            yield getattr(getattr(generation, "message", None), "tool_calls", None) or []


class _WhereOpen:
    """Stands for a context variable: holds the handler inside applications, else nothing."""

    def __init__(self) -> None:
        self.reasons: set[str] = set()
        self.is_registered = False
        self._observer = Observer()

    def get(self) -> Observer | None:
        is_wanted = bool(self.reasons) and justitia_sdk.current_application() is not None
        return self._observer if is_wanted else None


_hook = _WhereOpen()


def watch(reason: str) -> None:
    """
    See what runs inside applications from now on, until `unwatch` for the same *reason*.

    Changes: the hooks of LangChain's callbacks, which know no way back; ours falls silent.
    """
    _hook.reasons.add(reason)
    if not _hook.is_registered:
        _hook.is_registered = True
        register_configure_hook(cast("ContextVar[Any]", _hook), inheritable=True)


def unwatch(reason: str) -> None:
    """See nothing any more, unless there is another reason to."""
    _hook.reasons.discard(reason)
