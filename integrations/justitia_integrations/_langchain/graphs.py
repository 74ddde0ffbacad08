"""
What a LangGraph graph, as ``get_graph`` draws it, says of the order and certainty of its nodes.

Nodes are known by their paths: ``researcher:model`` is a node of the graph that is the node
``researcher``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .named import sends

_START, _END = "__start__", "__end__"

Edge = tuple[str, str, bool]  # from, to, whether on a condition


def in_order(edges: list[Edge]) -> list[str]:
    """Return the nodes from the start on, each behind those that lead to it, loops taken once."""
    after: dict[str, list[str]] = {}
    for source, target, _ in edges:
        after.setdefault(source, []).append(target)
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        for target in reversed(after.get(name, [])):
            visit(target)
        done[name] = None

    seen: set[str] = set()
    for name in [_START, *after]:
        visit(name)
    return list(reversed(done))


def certain(edges: list[Edge]) -> set[str]:
    """Return the nodes that every run comes to: unconditionally, or since all ways lead there."""
    always = _reached([(a, b) for a, b, is_conditional in edges if not is_conditional])
    ways = [(a, b) for a, b, _ in edges]
    if _END not in _reached(ways):
        return _reached(ways)
    names = {name for edge in ways for name in edge}
    needed = {each for each in names if _END not in _reached([w for w in ways if each not in w])}
    return always | needed


def _reached(ways: list[tuple[str, str]]) -> set[str]:
    reached = {_START}
    while new := {target for source, target in ways if source in reached} - reached:
        reached |= new
    return reached


def sent_to(graph: Any, path: str = "") -> Iterator[str]:
    """Yield the nodes of *graph*, or of one within it, that a branch may `Send` tasks to."""
    for branches in (getattr(getattr(graph, "builder", None), "branches", None) or {}).values():
        for branch in branches.values():
            if sends(branch.path):
                yield from (f"{path}{name}" for name in branch.ends or graph.nodes)
    for name, inner in graph.get_subgraphs():
        yield from sent_to(inner, f"{path}{name}:")


def within(graph: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the graphs that are nodes of *graph*, at any depth, with their paths."""
    for name, inner in graph.get_subgraphs():
        yield f"{path}{name}", inner
        yield from within(inner, f"{path}{name}:")
