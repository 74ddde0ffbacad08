"""
What was seen of an application that LangChain runs, and what is announced of it.

Announced is what is about to be asked for, before it is: the calls of a chain or graph when it is
run, of a batch, the tasks of a LangGraph `Send`, the tools that a reply asks for. What is known is
kept with the application and goes with it: a cancelled model tells nobody that it has ended.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import justitia_sdk
from justitia_sdk import Application, Plan, Stage

from .._adapter import labelled, logger
from .calls import manager_of
from .places import Place, beside, node_of
from .shape import Count, Shape, shape_of

_AGENT_NODES, _TOOL_NODE = ("model", "agent"), "tools"  # as LangChain's own agents name them
_BATCH = "batch"  # the stage of a model that is asked many things at once, outside any chain


@dataclass(slots=True)
class _Run:
    """A chain or tool that is running."""

    place: Place
    parent: UUID | None
    tool: Any  # what takes its time, if it is a tool
    children: set[UUID] = field(default_factory=set)


class Observation:
    """What was seen of one application, and what was announced of it. Safe in any thread."""

    def __init__(self) -> None:
        self.first_run: UUID | None = None
        self._runs: dict[UUID, _Run] = {}
        self._calls: dict[str, Count] = {}  # of one run or task, by stage, in order
        self._made: Counter[str] = Counter()  # calls, by stage
        self._promised: Counter[str] = Counter()  # calls, where their number was exact
        self._sent: Counter[str] = Counter()  # tasks, by stage
        self._used: Counter[str] = Counter()  # tools, by stage
        self._expected: dict[str, Stage] = {}
        self._lock = threading.RLock()

    def begin(self, run: UUID, parent: UUID | None, place: Place, tool: Any = None) -> None:
        """Take note of a chain or tool that begins."""
        with self._lock:
            self.first_run = self.first_run or run
            self._runs[run] = _Run(place, parent, tool)
            if parent in self._runs:
                self._runs[parent].children.add(run)

    def end(self, run: UUID) -> Place:
        """Take note that it has ended, and whatever in it never said so; return its place."""
        with self._lock:
            ended = self._runs.pop(run, None)
            if ended is None:
                return Place()
            for child in tuple(ended.children):
                self.end(child)
            if ended.parent in self._runs:
                self._runs[ended.parent].children.discard(run)
            if ended.tool is not None:
                self._used[ended.place.label or ""] += 1
                ended.tool.__exit__(None, None, None)
        return ended.place

    def call(self, run: UUID, stage: str | None) -> None:
        """Take note of a call that begins."""
        with self._lock:
            self.first_run = self.first_run or run
            if stage is not None:
                self._made[stage] += 1

    def place(self, parent: UUID | None, tags: Any, node: str | None) -> Place:
        """Return the place of a run below *parent*; what is not known of it is left out."""
        above = self._runs.get(parent) if parent is not None else None
        if above is None:
            return Place(node)
        return above.place.below(tags, node=node)

    def learn(self, shape: Shape) -> None:
        """Take note of the stages that a chain or graph has, and of their order."""
        with self._lock:
            self._calls.update({name: count for name, count in shape.calls.items() if name})

    def tools_of(self, stage: str) -> str | None:
        """Return the stage of the tools that replies in *stage* ask for; None if it has none."""
        tools = beside(stage, _TOOL_NODE)
        if stage in self._calls:
            return tools if tools in self._calls else None
        return tools if stage.rpartition(":")[2] in _AGENT_NODES else None

    def turn(self, application: Application, stage: str, tools: str, num_tools: int) -> None:
        """Announce what a reply in *stage* leads to: so many tools, and another call there."""
        are_silent = bool(self._used[tools]) and not self._made[tools]
        calls = Count(0, 0 if are_silent else num_tools)
        self.expect(application, {stage: Count(1, 1), tools: calls})

    def send(self, application: Application, tasks: Mapping[str, int]) -> None:
        """Announce the calls of so many *tasks*, by stage: all that were sent there, together."""
        with self._lock:
            for stage, num_tasks in tasks.items():
                self._sent[stage] += num_tasks
                one, sent = self._calls.get(stage, Count(0, 1)), self._sent[stage]
                known = max(self._promised[stage], self._made[stage])
                ahead = Count(one.least * sent - known, one.most * sent - known)
                if one.least < one.most:
                    self._expected[stage] = Stage(stage, (one.least * sent, one.most * sent))
                elif ahead.most > 0:
                    self._expected[stage] = self._stage(stage, ahead, at_once=None)
            self._announce(application)

    def expect(
        self, application: Application, ahead: Mapping[str, Count], *, at_once: int | None = None
    ) -> None:
        """
        Announce the calls *ahead*, by stage, on top of those made and promised before.

        Args:
            application: Whose calls they are.
            ahead: How many, of each stage.
            at_once: Of a stage so many at the same time at most, if that is limited.
        """
        with self._lock:
            for stage, count in ahead.items():
                if count.most:
                    self._expected[stage] = self._stage(stage, count, at_once)
            self._announce(application)

    def _stage(self, name: str, count: Count, at_once: int | None) -> Stage:
        """Return the stage with the calls it has had and *count* to come."""
        made = self._made[name]
        if count.least < count.most:
            return Stage(name, (made + count.least, made + count.most))
        before = max(self._promised[name], made)
        self._promised[name] = total = before + count.most
        if at_once is not None and not before:
            return Stage.of(name, calls=total, parallel=at_once)
        turns, rest = divmod(total, count.most)
        return Stage(name, total) if rest else Stage(name, count.most, loop=turns)

    def _announce(self, application: Application) -> None:
        in_order = dict.fromkeys([*self._calls, *self._expected])
        stages = [self._expected[name] for name in in_order if name in self._expected]
        if stages:
            application.expect(Plan(tuple(stages)))


_observations: WeakKeyDictionary[Application, Observation] = WeakKeyDictionary()
_lock = threading.RLock()  # allows re-entry: the garbage collector may end a run in the midst of it


def observation_of(application: Application) -> Observation:
    """Return what is known of *application*, or of the one it is a part of."""
    known = _observations.get(application.root)
    if known is not None:
        return known
    with _lock:
        return _observations.setdefault(application.root, Observation())


_announced: ContextVar[int | None] = ContextVar("justitia_announced", default=None)  # runnable's id


def announcing(
    runnable: Any, config: Any, *, num_runs: int | None = None
) -> AbstractContextManager[object]:
    """
    Return a scope around a run, or *num_runs* at once, which announces the calls of it.

    It does so once for the whole of what is run, and for a batch anywhere in it; nothing where a
    stage is open, whose name is then that of the calls, and nothing outside an application.
    """
    application = justitia_sdk.current_application()
    if (
        application is None
        or _announced.get() == id(runnable)
        or justitia_sdk.current_stage() is not None
    ):
        return nullcontext()
    manager = manager_of(config)
    # A list of configurations is that of a batch within a batch, which was announced.
    if manager is not None and (num_runs is None or isinstance(config, list)):
        return nullcontext()
    return _announcing(application, runnable, config, manager, num_runs)


@contextmanager
def _announcing(
    application: Application, runnable: Any, config: Any, manager: Any, num_runs: int | None
) -> Iterator[None]:
    stage = None
    try:
        stage = _announce(application, runnable, config, manager, num_runs)
    except Exception:
        logger.debug("run_not_announced", exc_info=True)
    token = _announced.set(id(runnable))
    try:
        with labelled(stage):
            yield
    finally:
        _announced.reset(token)


def _announce(
    application: Application, runnable: Any, config: Any, manager: Any, num_runs: int | None
) -> str | None:
    """Announce the calls of the runs; return their stage, where LangChain has no name for it."""
    observation = observation_of(application)
    place = None
    if manager is not None:
        node = node_of(manager.metadata)
        place = observation.place(manager.parent_run_id, manager.tags, node)
    shape = shape_of(runnable, place)
    if place is None:
        observation.learn(shape)
    times = 1 if num_runs is None else num_runs
    calls = dict(shape.calls)
    is_bare = num_runs is not None and calls.keys() == {None}
    if is_bare:
        calls = {_BATCH: calls[None]}
    ahead = {
        stage: Count(one.least * times, one.most * times)
        for stage, one in calls.items()
        if stage is not None and one.is_known
    }
    given = config[0] if isinstance(config, list) and config else config
    limit = given.get("max_concurrency") if isinstance(given, Mapping) else None
    observation.expect(application, ahead, at_once=limit)
    return _BATCH if is_bare else None
