"""
LangGraph: graphs as applications, whose nodes are the stages.

A graph is a runnable of LangChain, and what calls a model in a node is one, too, so this is the
integration of `langchain` without its models: runs are taken at `Pregel`, the class of all compiled
graphs; nodes, `Send` and the tools of a reply are seen by the callback handler; the shape is what
``get_graph(xray=True)`` draws.
"""

from __future__ import annotations

try:
    import langgraph.pregel  # noqa: F401
except ImportError as exc:
    raise ImportError(
        "This integration needs LangGraph: pip install justitia-sdk[langgraph]"
    ) from exc

from ._langchain.runs import application, instrument, plan_of, uninstrument

__all__ = ["application", "instrument", "plan_of", "uninstrument"]
