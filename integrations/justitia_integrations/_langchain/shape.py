"""
The shape of a chain or graph, known before its first call: which stages it has, how many calls.

Chains are walked step by step, LangGraph graphs by what `get_graph` draws; a function is looked
into for the models, chains and graphs that it names. A loop is taken once: how often it turns, only
the run tells. So it is with the fan-out of a LangGraph `Send` and with the calls that tools make:
such a stage has a place among the others and no number of calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import (
    RunnableBranch,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.passthrough import RunnableAssign

from justitia_sdk import Plan, Stage
from justitia_sdk.errors import ConfigurationError

from .calls import ByIdentity
from .graphs import certain, in_order, sent_to, within
from .named import named_in, sends
from .places import Place

OWN_NAME = "__justitia_name__"  # of a runnable whose runs are applications: their name

_HOOKS = (".before_model", ".after_model", ".before_agent", ".after_agent")  # of agent middleware


class Count(NamedTuple):
    """Calls of one stage, at least and at most; of a stage of unknown fan-out, of one task."""

    least: int
    most: int
    is_known: bool = True


Calls = Mapping[str | None, Count]  # by stage, in order; None stands for calls without one


@dataclass(frozen=True, slots=True)
class Shape:
    """
    What is known of a chain or graph.

    Attributes:
        calls: The calls of each of its stages, in their order.
    """

    calls: Calls

    @property
    def plan(self) -> Plan | None:
        """The stages whose calls can be told beforehand; None if there is none, or too many."""
        stages = [
            Stage(name, count.least if count.least == count.most else (count.least, count.most))
            for name, count in self.calls.items()
            if name is not None and count.is_known and count.most
        ]
        try:
            return Plan(tuple(stages)) if stages else None
        except ConfigurationError:
            return None


_shapes: ByIdentity[Shape] = ByIdentity()


def shape_of(runnable: Any, place: Place | None = None) -> Shape:
    """Return the shape of *runnable*, run at *place*; at the top, if that is not given."""
    if place is not None:
        return Shape(_Walk().calls_of(runnable, place))
    return _shapes.of(runnable, lambda: Shape(_Walk().calls_at_the_top(runnable)))


class _Walk:
    """One walk through a chain or graph; what is found inside itself counts once."""

    def __init__(self) -> None:
        self._inside: set[int] = set()

    def calls_at_the_top(self, runnable: Any) -> Calls:
        """Return the calls that *runnable*, run by itself, makes."""
        runnable = _unbound(runnable)
        self._inside.add(id(runnable))
        is_alone = isinstance(runnable, BaseLanguageModel)
        return self._calls_of(runnable, Place() if is_alone else Place().below())

    def calls_of(self, runnable: Any, place: Place) -> Calls:
        """Return the calls that *runnable*, whose own place is *place*, makes."""
        runnable = _unbound(runnable)
        if id(runnable) in self._inside:
            return {}
        self._inside.add(id(runnable))
        try:
            calls = self._calls_of(runnable, place)
            name = getattr(type(runnable), OWN_NAME, None)
            # A part of the application around it: its own name is the stage.
            return calls if name is None else _all({name: count} for count in calls.values())
        finally:
            self._inside.discard(id(runnable))

    def _calls_of(self, runnable: Any, place: Place) -> Calls:
        if isinstance(runnable, BaseLanguageModel):
            return {place.label: Count(1, 1)}
        if isinstance(runnable, RunnableSequence):
            steps = enumerate(runnable.steps, 1)
            return _all(self.calls_of(step, place.below([f"seq:step:{n}"])) for n, step in steps)
        if isinstance(runnable, RunnableParallel):
            branches = runnable.steps__.items()
            return _all(self.calls_of(each, place.below([f"map:key:{k}"])) for k, each in branches)
        if isinstance(runnable, RunnableBranch):
            return self._branch_calls(runnable, place)
        if isinstance(runnable, RunnableAssign):
            return self.calls_of(runnable.mapper, place.below())
        if isinstance(runnable, RunnableWithFallbacks):
            return self.calls_of(runnable.runnable, place.below())
        if _is_graph(runnable):
            return self._graph_calls(runnable, place.node)
        if (tools := getattr(runnable, "tools_by_name", None)) is not None:
            return {place.label: Count(0, 1, is_known=False)} if tools else {}
        return _all(self.calls_of(each, place.below()) for each in named_in(runnable))

    def _branch_calls(self, branch: RunnableBranch[Any, Any], place: Place) -> Calls:
        (first, _), *others = branch.branches
        conditions = [self.calls_of(each, place.below()) for each, _ in others]
        ways = [self.calls_of(each, place.below()) for _, each in branch.branches]
        ways.append(self.calls_of(branch.default, place.below()))
        return _all(
            [self.calls_of(first, place.below()), *map(_perhaps, conditions), _one_of(ways)]
        )

    def _graph_calls(self, graph: Any, inside: str | None) -> Calls:
        """Return the calls of a LangGraph graph, which runs in the node *inside*, if in one."""
        drawn = graph.get_graph(xray=True)
        edges = [(edge.source, edge.target, edge.conditional) for edge in drawn.edges]
        by_command = {name for name, node in drawn.nodes.items() if sends(node.data)}
        sent = {*sent_to(graph), *(target for source, target, _ in edges if source in by_command)}
        sure = certain(edges)
        owned = {f"{path}:": getattr(type(each), OWN_NAME, None) for path, each in within(graph)}
        parts: list[Calls] = []
        for name in in_order(edges):
            if (runnable := getattr(drawn.nodes.get(name), "data", None)) is None:
                continue
            own = (own for path, own in owned.items() if own and name.startswith(path))
            label = next(own, name if inside is None else f"{inside}:{name}")
            calls = self.calls_of(runnable, Place(label))
            if name in sent:
                calls = {stage: one._replace(is_known=False) for stage, one in calls.items()}
            is_sure = name in sent or (name in sure and not name.endswith(_HOOKS))
            parts.append(calls if is_sure else _perhaps(calls))
        return _all(parts)


def _unbound(runnable: Any) -> Any:
    """Return what is run where *runnable* is: neither a binding nor a choice makes a run."""
    while True:
        if isinstance(runnable, RunnableBindingBase):
            runnable = runnable.bound
        elif isinstance(runnable, DynamicRunnable):
            runnable = runnable.default
        else:
            return runnable


def _is_graph(runnable: Any) -> bool:
    # One elsewhere has no nodes here, and would be asked over the network.
    return hasattr(runnable, "get_subgraphs") and hasattr(runnable, "nodes")


def _all(parts: Iterable[Calls]) -> Calls:
    """Return the calls of all *parts* together."""

    def both(one: Calls, other: Calls) -> Calls:
        none = Count(0, 0)
        pairs = {name: (one.get(name, none), other.get(name, none)) for name in {**one, **other}}
        return {
            name: Count(a.least + b.least, a.most + b.most, a.is_known and b.is_known)
            for name, (a, b) in pairs.items()
        }

    return reduce(both, parts, {})


def _one_of(ways: list[Calls]) -> Calls:
    """Return the calls of one of *ways*, nobody knows which."""
    calls: dict[str | None, Count] = {}
    for name in dict.fromkeys(name for way in ways for name in way):
        counts = [way.get(name, Count(0, 0)) for way in ways]
        least, most = min(each.least for each in counts), max(each.most for each in counts)
        calls[name] = Count(least, most, all(each.is_known for each in counts))
    return calls


def _perhaps(calls: Calls) -> Calls:
    return {name: count._replace(least=0) for name, count in calls.items()}
