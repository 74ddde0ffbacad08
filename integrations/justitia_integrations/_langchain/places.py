"""
Where in a chain or graph a run is, and so which stage its calls belong to.

In LangGraph the stage is the node, by its path: ``model``, or ``researcher:model`` for a graph in a
graph. In a chain it is the step: ``step 2``, or ``step 2.1`` for a chain in that step. All that is
below a `RunnableParallel` belongs to the parallel's own step, since it runs at the same time. A
model that is called by itself is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_STEP, _BRANCH_OF_PARALLEL = "seq:step:", "map:key:"  # tags that LangChain gives to runs
_NODE, _NODE_PATH = "langgraph_node", "langgraph_checkpoint_ns"  # metadata of LangGraph


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a run is.

    Attributes:
        node: Path of the LangGraph node, if it is in one.
        steps: Numbers of the steps of the chains around it, outermost first.
        is_split: Whether it is below a `RunnableParallel`, where steps count no more.
        is_inside: Whether it is below anything at all.
    """

    node: str | None = None
    steps: tuple[str, ...] = ()
    is_split: bool = False
    is_inside: bool = False

    @property
    def label(self) -> str | None:
        """The stage of calls made here, if there is a name for it."""
        if self.node is not None or not self.is_inside:
            return self.node
        return f"step {'.'.join(self.steps) or '1'}"

    def below(self, tags: Iterable[str] | None = None, *, node: str | None = None) -> Place:
        """Return the place of a run right below, to which LangChain gave *tags*, in *node*."""
        if node is not None or self.node is not None:
            return Place(node or self.node)
        given = tuple(tags or ())
        is_split = self.is_split or any(tag.startswith(_BRANCH_OF_PARALLEL) for tag in given)
        steps = [tag.removeprefix(_STEP) for tag in given if tag.startswith(_STEP)]
        new = () if is_split else tuple(steps[:1])
        return Place(None, (*self.steps, *new), is_split, is_inside=True)


def node_of(metadata: Mapping[str, Any] | None) -> str | None:
    """Return the path of the LangGraph node that a run's *metadata* tells of."""
    told = metadata or {}
    path = told.get(_NODE_PATH)
    if not isinstance(path, str):
        node = told.get(_NODE)
        return node if isinstance(node, str) else None
    # "researcher:<task id>|model:<task id>"; a number stands for another graph of the same node.
    names = (part.partition(":")[0] for part in path.split("|"))
    return ":".join(name for name in names if name and not name.isdecimal()) or None


def beside(place: str, node: str) -> str:
    """Return the path of *node* of the same graph as the node with the path *place*."""
    graph, colon, _ = place.rpartition(":")
    return f"{graph}{colon}{node}"
