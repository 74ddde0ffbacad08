"""
CrewAI: every kickoff of a crew, a flow or an agent is an application of its own.

Calls go out through the official OpenAI client, CrewAI's own or LiteLLM's, which the SDK
instruments. Scopes are opened around the methods that run things: CrewAI's hooks and events come
too late or in other threads, and none is sure to come when a run fails. CrewAI takes the context
along to the threads of its asynchronous tasks, parallel tools and flow methods.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import justitia_sdk

try:
    from crewai import Agent, Crew, Flow, Process, Task
    from crewai.tasks.conditional_task import ConditionalTask
    from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
    from crewai.tools.base_tool import BaseTool, Tool
    from crewai.tools.structured_tool import CrewStructuredTool

    try:
        from crewai.agents.agent_executor import AgentExecutor
    except ImportError:  # where it was in the first versions of 1.15
        from crewai.experimental.agent_executor import AgentExecutor
except ImportError as exc:
    raise ImportError("This integration needs CrewAI: pip install justitia-sdk[crewai]") from exc

from ._adapter import (
    Method,
    Patches,
    RunScope,
    labelled,
    logger,
    own_runs,
    printable,
    switch_off,
    switch_on,
    tool_time,
    top_level,
)

T = TypeVar("T")

# What runs a thing: the other ways to run it (kickoff_async, akickoff, resume …) end in these, and
# so does a kickoff that streams: it returns at once, and kicks off again when it is first read.
RUNS: dict[type, tuple[str, ...]] = {
    Crew: ("kickoff", "akickoff"),
    Agent: ("kickoff", "kickoff_async"),
    Flow: ("kickoff_async", "resume_async"),
}
# What of an agent or a task makes an agent call again.
LOOPS = ("tools", "mcps", "apps", "allow_delegation", "planning_config", "guardrail", "guardrails")

_patches = Patches()


def instrument() -> None:
    """
    Let every LLM call say where it belongs, and make top-level runs applications of their own.

    Their calls bear the name of the task, else of the agent's role, as stage; in a flow that of
    its method. Of a ``kickoff_for_each`` each input is an application. A second call changes
    nothing.

    Changes: the official OpenAI client (`justitia_sdk.instrument`); methods of `Crew`, `Agent`,
    `Flow`, `Task` and the tools.
    """
    switch_on(__name__)
    if _patches.is_on:
        return
    for kind, names in RUNS.items():
        for name in names:
            _replace(kind, name, lambda run: top_level(run, _new_application))
    for name in ("execute_sync", "execute_async"):
        _replace(Task, name, _staged)
    _replace(Task, "aexecute_sync", _astaged)
    _replace(Flow, "_execute_method", _method_staged)
    for tool, name in ((BaseTool, "run"), (Tool, "run"), (CrewStructuredTool, "invoke")):
        _replace(tool, name, _timed)


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on opening applications."""
    _patches.undo()
    switch_off(__name__)


def application(
    thing: T,
    name: str | None = None,
    *,
    input: object = None,
    plan: justitia_sdk.Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> T:
    """
    Return *thing*, every kickoff of which is an application of its own, or a part of an open one.

    For its calls to carry hints, call `instrument`, this one or the SDK's.

    Args:
        thing: A crew, an agent or a flow; of a flow the state is shared with what is returned.
        name: The kind of application; by default the crew's or flow's name or the agent's role.
        input: What the runs work on; by default the inputs or messages, else the tasks.
        plan: The structure, if known; by default `plan_of` the thing.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    name = _name_of(thing) if name is None else name
    plan = plan_of(thing) if plan is None else plan

    def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
        works_on = _input_of(thing, args, kwargs) if input is None else input
        return justitia_sdk.application(
            name, input=works_on, plan=plan, weight=weight, deadline_s=deadline_s
        )

    scope((), {})  # speaks up before any run
    methods = next((names for kind, names in RUNS.items() if isinstance(thing, kind)), ())
    twin = own_runs(thing, methods, scope)
    if isinstance(thing, Flow):  # its methods are bound to *thing*, and work on what that holds
        for held in ("__dict__", "__pydantic_private__"):
            object.__setattr__(twin, held, getattr(thing, held))
    if isinstance(thing, Crew):
        cast(Any, type(twin)).copy = _copy_of_twin
    return twin


def plan_of(thing: object) -> justitia_sdk.Plan | None:
    """
    Return the structure of a crew or an agent, else None.

    A sequential crew has a stage a task, in their order; an agent with tools turns up to its own
    limit. A manager's decisions and a flow's routes are known only by running them.
    """
    try:
        if isinstance(thing, Agent):
            return justitia_sdk.Plan((justitia_sdk.Stage(_name_of(thing), calls=_turns(thing)),))
        if not isinstance(thing, Crew) or thing.process is not Process.sequential:
            return None
        calls: dict[str, tuple[int, int]] = {}
        for task in thing.tasks:
            least, most = _turns(task.agent, task)
            least = 0 if isinstance(task, ConditionalTask) else least
            before = calls.get(_stage_of(task), (0, 0))
            calls[_stage_of(task)] = (before[0] + least, before[1] + most)
        return justitia_sdk.Plan(
            tuple(justitia_sdk.Stage(name, calls=count) for name, count in calls.items())
        )
    except Exception:
        logger.warning("plan_left_out", exc_info=True)
        return None


def _turns(agent: Any, task: object = None) -> tuple[int, int]:
    """Return least and most calls of an agent at one task: with nothing to use it has no loop."""
    loops = any(getattr(each, name, None) for each in (agent, task) for name in LOOPS)
    return (1, agent.max_iter if loops else 1)


def _replace(kind: type, name: str, wrap: Callable[[Method], Method]) -> None:
    """Replace a method where it is defined, be it in a base class."""
    owner = next((each for each in kind.__mro__ if name in vars(each)), None)
    if owner is None:
        logger.warning("this version of CrewAI is unknown: %s has no %s", kind.__name__, name)
    else:
        _patches.replace(owner, name, wrap)


def _new_application(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    thing, *given = args
    return justitia_sdk.application(
        _name_of(thing), input=_input_of(thing, tuple(given), kwargs), plan=plan_of(thing)
    )


def _copy_of_twin(twin: Any) -> Any:
    """Return a copy of the crew that is still what `application` made of it."""
    copied = super(type(twin), twin).copy()
    object.__setattr__(copied, "__class__", type(twin))
    return copied


def _name_of(thing: Any) -> str:
    if isinstance(thing, AgentExecutor):  # a task run without a crew
        thing = thing.agent
    own = _role_of(thing) if isinstance(thing, Agent) else getattr(thing, "name", None)
    return printable(own or type(thing).__name__)  # roles out of YAML end in a new line


def _role_of(agent: object) -> str | None:
    """Return the role as it was written, the same for all inputs: ``{topic} expert``."""
    return getattr(agent, "_original_role", None) or getattr(agent, "role", None)


def _input_of(thing: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    """Return what a run works on: its inputs or messages, else what the tasks say."""
    given = args[0] if args else kwargs.get("inputs") or kwargs.get("messages")
    if not given and isinstance(thing, Crew):
        return "\n".join(task.description for task in thing.tasks)
    return given


def _stage_of(task: Any) -> str:
    """Return what the calls of a task are called: by its name, else by the agent's role."""
    return printable(task.name or _role_of(task.agent) or "task")


def _staged(execute: Method) -> Method:
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with labelled(_stage_of(self)):
            return execute(self, *args, **kwargs)

    return run


def _astaged(execute: Method) -> Method:
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        with labelled(_stage_of(self)):
            return await execute(self, *args, **kwargs)

    return run


def _method_staged(execute: Method) -> Method:
    async def run(self: Any, method_name: str, *args: Any, **kwargs: Any) -> Any:
        # An agent's loop is a flow as well, whose methods are no one's business.
        name = _name_of(self) if isinstance(self, AgentExecutor) else str(method_name)
        with labelled(name):
            return await execute(self, method_name, *args, **kwargs)

    return run


def _timed(use: Method) -> Method:
    @functools.wraps(use)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, BaseAgentTool):  # asks a colleague, who calls models
            return use(self, *args, **kwargs)
        with tool_time(self.name):
            return use(self, *args, **kwargs)

    return run
