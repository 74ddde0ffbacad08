"""
PydanticAI: every run of an agent is an application, and its calls say which agent makes them.

Hints are added by the official client, under every model that uses it. Runs are taken at
`Agent.iter`, which all of `run`, `run_sync`, `run_stream` and their kin go through; tools where the
tool manager executes them. A capability added to each run would be the wrong place: a streamed call
does not see what `wrap_model_request` sets, and durable runs refuse capabilities they do not know.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar
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
    from pydantic_ai import Agent
    from pydantic_ai.agent import AbstractAgent
    from pydantic_ai.toolsets import FunctionToolset
except ImportError as exc:
    raise ImportError(
        "This integration needs PydanticAI: pip install justitia-sdk[pydantic-ai]"
    ) from exc

A = TypeVar("A", bound="AbstractAgent[Any, Any]")
Run = AbstractContextManager[object]
NewRun = Callable[[Any, dict[str, Any]], Run]  # from the agent and the arguments of a run

UNNAMED = "agent"

_TOOLS = "pydantic_ai.tool_manager"
_RUN_CHOICES = ("output_type", "toolsets", "capabilities", "spec")  # may bring calls to one run

_patches = Patches()
# What a run's tools go back to: its application, without the label of the run.
_unlabelled: ContextVar[Run | None] = ContextVar("justitia_unlabelled", default=None)


def instrument() -> None:
    """
    Make every run an application, or a part of the one that is open, and its calls carry hints.

    A run outside any application is one of its own, of the agent's name. The stage of a call is the
    agent's name too, unless a stage is open; tools are reported.

    Changes: `Agent`, its tool manager and the official client (`justitia_sdk.instrument`); a second
    call changes nothing.
    """
    switch_on(__name__)
    if _patches.is_on:
        return
    _patches.replace(Agent, "iter", _iter)
    try:
        manager = import_module(_TOOLS).ToolManager
        _patches.replace(manager, "execute_tool_call", _execute_tool_call)
    except Exception:
        logger.warning("tools_without_reports", exc_info=True)


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on opening applications."""
    _patches.undo()
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
    Return an agent like *thing*, every run of which is an application of its own.

    Inside another application it is a part of that one. For its calls to carry hints, call
    `instrument`, or let its model have a client that hints.

    Args:
        thing: An agent; the one returned shares its tools and settings.
        name: The kind of application; the agent's name by default.
        input: What runs work on; each run's own prompt by default.
        plan: The structure; what `plan_of` finds by default.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    scope = partial(
        _scope_of, name=name, given=input, plan=plan, weight=weight, deadline_s=deadline_s
    )
    scope(thing, {})  # speaks up before any run
    twin = own_runs(thing, (), lambda args, kwargs: scope(thing, kwargs))
    setattr(type(twin), "iter", _own_iter(type(thing), scope))  # noqa: B010
    return twin


def plan_of(thing: object) -> Plan | None:
    """
    Return the plan of an agent that can only answer, in plain text: one call.

    With tools, or output to be validated, the number of calls is the model's choice: None.
    """
    if not isinstance(thing, Agent) or thing.output_type is not str:
        return None
    has_tools = any(
        not isinstance(each, FunctionToolset) or bool(each.tools) for each in thing.toolsets
    )
    if has_tools or getattr(thing, "_output_validators", None):
        return None
    return Plan((Stage(_name_of(thing)),))


# Runs


def _iter(original: Method) -> Method:
    @asynccontextmanager
    async def iter(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        own = _scope(_scope_of, self, args, kwargs) if _is_outside() else nullcontext()
        with own, _labelled_run(_name_of(self)):
            async with original(self, *args, **kwargs) as run:
                yield run

    return iter


def _is_outside() -> bool:
    application = justitia_sdk.current_application()
    return application is None or application.is_finished


def _own_iter(kind: Any, scope: NewRun) -> Method:
    @asynccontextmanager
    async def iter(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with _scope(scope, self, args, kwargs):
            async with kind.iter(self, *args, **kwargs) as run:
                yield run

    return iter


def _scope(scope: NewRun, agent: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
    """Return the application of one run; nothing if none can be made."""
    try:
        return scope(agent, {"user_prompt": args[0], **kwargs} if args else kwargs)
    except Exception:
        logger.warning("run_without_application", exc_info=True)
        return nullcontext()


def _scope_of(
    agent: Any,
    run: dict[str, Any],
    *,
    name: str | None = None,
    given: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> Any:
    return justitia_sdk.application(
        _name_of(agent) if name is None else name,
        input=_text_of(run.get("user_prompt")) if given is None else given,
        plan=_plan_of_run(agent, run) if plan is None else plan,
        weight=weight,
        deadline_s=deadline_s,
    )


def _plan_of_run(agent: Any, run: dict[str, Any]) -> Plan | None:
    return None if any(run.get(name) for name in _RUN_CHOICES) else plan_of(agent)


def _name_of(agent: Any) -> str:
    return printable(str(getattr(agent, "name", None) or UNNAMED))


def _text_of(prompt: str | Sequence[object] | None) -> str | None:
    """Return the text of a prompt; pictures and the like have none."""
    if prompt is None or isinstance(prompt, str):
        return prompt
    texts = [getattr(part, "content", part) for part in prompt]
    return "\n".join(text for text in texts if isinstance(text, str)) or None


# Calls and tools


@contextmanager
def _labelled_run(name: str) -> Iterator[None]:
    """Label the calls of a run with *name*, unless a stage is open; its tools' calls are not."""
    application = justitia_sdk.current_application()
    token = _unlabelled.set(None if application is None else application.handle())
    try:
        with labelled(name):
            yield
    finally:
        with suppress(ValueError):  # closed in another context, which has nothing to restore
            _unlabelled.reset(token)


def _execute_tool_call(original: Method) -> Method:
    async def execute_tool_call(self: Any, validated: Any, *args: Any, **kwargs: Any) -> Any:
        if (tool := _begins(validated)) is None:
            return await original(self, validated, *args, **kwargs)
        with _unlabelled.get() or nullcontext(), tool_time(tool):
            return await original(self, validated, *args, **kwargs)

    return execute_tool_call


def _begins(validated: Any) -> str | None:
    """Return the tool a call is of; None if it is turned down, or put off, before it begins."""
    is_fit = getattr(validated, "args_valid", True) and not getattr(validated, "deferral", None)
    name = getattr(getattr(validated, "call", None), "tool_name", None)
    return name if is_fit and isinstance(name, str) else None
