"""
OpenAI Agents SDK: every run of an agent is an application, and its calls say which agent speaks.

Hints are added by the official client, under every model of the SDK, for the Responses API and chat
completions alike: headers in one `ModelSettings` replace those in another, and what a hook sets
does not reach the call. Runs are taken at `Runner`; turns where the runner picks the model of the
agent that speaks, and where it calls it; tools where they are invoked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, copy_context
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import justitia_sdk
from justitia_sdk import Plan, Stage

from ._adapter import (
    Method,
    Patches,
    labelled,
    logger,
    own_runs,
    printable,
    switch_off,
    switch_on,
    tool_time,
)

try:
    from agents import Agent, Runner
except ImportError as exc:
    raise ImportError(
        "This integration needs the OpenAI Agents SDK: pip install justitia-sdk[openai-agents]"
    ) from exc

A = TypeVar("A", bound="Agent[Any]")
Run = AbstractContextManager[object]

_SCOPE = "justitia_scope"  # attribute of an agent whose runs are applications of their own
_INTERNALS = "agents.run_internal"
_NATIVE_TOOLS = {  # class that runs such a tool -> where it finds the tool
    "ApplyPatchAction": "apply_patch_tool",
    "ComputerAction": "computer_tool",
    "CustomToolAction": "custom_tool",
    "LocalShellAction": "local_shell_tool",
    "ShellAction": "shell_tool",
}

_runs = Patches()
_turns = Patches()
_is_on = threading.Event()
_speaker: ContextVar[str | None] = ContextVar("justitia_speaker", default=None)


def instrument() -> None:
    """
    Make every run an application, or a part of the one that is open, and its calls carry hints.

    A run outside any application is one of its own, of the name of the agent it starts with. The
    stage of a call is the agent that speaks, unless a stage is open; tools are reported.

    Changes: `Runner`, what it runs turns and tools with, and the official client
    (`justitia_sdk.instrument`); a second call changes nothing.
    """
    switch_on(__name__)
    _take_runs()
    if not _is_on.is_set():
        _is_on.set()
        try:
            _take_turns()
        except Exception:
            logger.warning("turns_without_labels", exc_info=True)


def uninstrument() -> None:
    """Undo `instrument`; runs of what `application` returned are then those of plain agents."""
    _is_on.clear()
    _turns.undo()
    _runs.undo()
    switch_off(__name__)


def application(
    thing: A,
    name: str | None = None,
    *,
    input: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> A:
    """
    Return an agent like *thing*, every run that starts with which is an application of its own.

    Inside another application it is a part of that one. For its calls to carry hints, call
    `instrument`, or let its model have a client that hints.

    Args:
        thing: An agent.
        name: The kind of application; the agent's name by default.
        input: What runs work on; each run's own input by default.
        plan: The structure; what `plan_of` finds by default.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.

    Changes: `Runner`, which looks for such agents.
    """
    scope = partial(
        _scope_of, name=name, given=input, plan=plan, weight=weight, deadline_s=deadline_s
    )
    scope(thing, None)  # speaks up before any run
    twin = own_runs(thing, (), lambda args, kwargs: scope(thing, None))
    setattr(type(twin), _SCOPE, staticmethod(scope))
    _take_runs()
    return twin


def plan_of(thing: object) -> Plan | None:
    """
    Return the plan of an agent that can only answer: one call.

    With tools, handoffs or guardrails the number of turns is the model's choice: None.
    """
    choices = ("tools", "handoffs", "mcp_servers", "input_guardrails", "output_guardrails")
    # A sandbox agent's capabilities bring tools.
    if not isinstance(thing, Agent) or any(
        getattr(thing, field, None) for field in (*choices, "capabilities")
    ):
        return None
    return Plan((Stage(printable(thing.name)),))


# Runs


def _take_runs() -> None:
    if not _runs.is_on:
        _runs.replace(Runner, "run", _run)
        _runs.replace(Runner, "run_sync", _run_sync)
        _runs.replace(Runner, "run_streamed", _run_streamed)


def _run(original: Method) -> Method:
    async def run(cls: Any, starting_agent: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        with _scope(starting_agent, input):
            return await original(cls, starting_agent, input, *args, **kwargs)

    return run


def _run_sync(original: Method) -> Method:
    def run_sync(cls: Any, starting_agent: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        with _scope(starting_agent, input):
            return original(cls, starting_agent, input, *args, **kwargs)

    return run_sync


def _run_streamed(original: Method) -> Method:
    """Open the application where the run's task is made, and close it when the task is done."""

    def run_streamed(cls: Any, starting_agent: Any, input: Any, *args: Any, **kwargs: Any) -> Any:
        context = copy_context()
        scope = _scope(starting_agent, input)
        context.run(scope.__enter__)
        result = context.run(original, cls, starting_agent, input, *args, **kwargs)
        # Another runner may have no task; the server then ends the application when it is idle.
        if isinstance(task := getattr(result, "run_loop_task", None), asyncio.Future):
            task.add_done_callback(lambda _: scope.__exit__(None, None, None), context=context)
        return result

    return run_streamed


def _scope(agent: Any, input: Any) -> Run:
    """Return the application of one run, as far as it is one: the agent's own, else a new one."""
    own: Callable[[Any, Any], Run] | None = getattr(agent, _SCOPE, None)
    outer = justitia_sdk.current_application()
    is_part = outer is not None and not outer.is_finished
    if own is None and (is_part or not _is_on.is_set()):
        return nullcontext()
    try:
        return (own or _scope_of)(agent, input)
    except Exception:
        logger.warning("run_without_application", exc_info=True)
        return nullcontext()


def _scope_of(
    agent: Any,
    input: Any,
    *,
    name: str | None = None,
    given: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> Any:
    return justitia_sdk.application(
        printable(agent.name) if name is None else name,
        input=_text_of(input) if given is None else given,
        plan=plan_of(agent) if plan is None else plan,
        weight=weight,
        deadline_s=deadline_s,
    )


def _text_of(input: Any) -> str | None:
    """Return the text a run begins with; None of a run that is resumed from its state."""
    if isinstance(input, str):
        return input
    items = input if isinstance(input, list) else []
    contents = [item.get("content") for item in items if isinstance(item, Mapping)]
    return "\n".join(str(content) for content in contents if content) or None


# Turns and tools


def _take_turns() -> None:
    loop, tools, actions = (
        import_module(f"{_INTERNALS}.{name}")
        for name in ("run_loop", "tool_execution", "tool_actions")
    )
    _turns.replace(loop, "get_model", _noting_speaker)
    _turns.replace(loop, "get_response_with_retry", _labelled_call)
    _turns.replace(loop, "stream_response_with_retry", _labelled_stream)
    _turns.replace(tools, "_invoke_function_tool_with_metadata", _timed_tool)
    for action, field in _NATIVE_TOOLS.items():
        _turns.replace(getattr(actions, action), "execute", _timed_action(field))


def _noting_speaker(original: Method) -> Method:
    # The runner asks for the model in the very task that then calls it, with no agent named there.
    def get_model(agent: Any, *args: Any, **kwargs: Any) -> Any:
        _speaker.set(getattr(agent, "name", None))
        return original(agent, *args, **kwargs)

    return get_model


def _labelled_call(original: Method) -> Method:
    async def get_response_with_retry(*args: Any, **kwargs: Any) -> Any:
        with labelled(_speaker.get()):
            return await original(*args, **kwargs)

    return get_response_with_retry


def _labelled_stream(original: Method) -> Method:
    def stream_response_with_retry(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with labelled(_speaker.get()):
            events: AsyncIterator[Any] = justitia_sdk.copy_scope(original)(*args, **kwargs)
            return events

    return stream_response_with_retry


def _timed_tool(original: Method) -> Method:
    async def invoke(*args: Any, **kwargs: Any) -> Any:
        tool = kwargs.get("function_tool")
        # An agent as a tool is at work on the server itself: no time between calls.
        is_agent = getattr(tool, "_is_agent_tool", False)
        with nullcontext() if is_agent else tool_time(getattr(tool, "name", "tool")):
            return await original(*args, **kwargs)

    return invoke


def _timed_action(field: str) -> Callable[[Method], Method]:
    def wrap(original: Method) -> Method:
        async def execute(cls: Any, **kwargs: Any) -> Any:
            tool = getattr(kwargs.get("call") or kwargs.get("action"), field, None)
            with tool_time(getattr(tool, "name", field)):
                return await original(cls, **kwargs)

        return execute

    return wrap
