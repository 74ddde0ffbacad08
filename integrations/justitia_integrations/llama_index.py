"""
LlamaIndex: runs of agents, workflows, query and chat engines are applications of their own.

Calls go out through the official OpenAI client, which the SDK instruments. Runs, stages and tools
are heard of as *spans* of LlamaIndex's own instrumentation: a span is entered and left in the very
task or thread that does the work, so a scope opened there covers it, whichever class is behind; and
a workflow's span ends with the workflow, long after ``run`` has returned its handler. Streamed
responses are read when their run has returned; they keep its scope, and with it the application.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import justitia_sdk

try:
    from llama_index.core.agent.workflow import (
        AgentWorkflow,
        BaseWorkflowAgent,
        ToolCall,
        ToolCallResult,
    )
    from llama_index.core.agent.workflow.base_agent import DEFAULT_MAX_ITERATIONS
    from llama_index.core.agent.workflow.workflow_events import AgentWorkflowStartEvent
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
    from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.instrumentation.span import BaseSpan
    from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
    from llama_index.core.response_synthesizers import BaseSynthesizer
    from llama_index.core.workflow import Event, StartEvent, Workflow
except ImportError as exc:
    raise ImportError(
        "This integration needs LlamaIndex: pip install justitia-sdk[llama-index]"
    ) from exc

from ._adapter import (
    Patches,
    labelled,
    own_runs,
    printable,
    switch_off,
    switch_on,
    tool_time,
)
from ._llama_index_runs import Run, current_run, keeping_streams, or_warn

T = TypeVar("T")
Arguments = dict[str, Any]
NewApplication = Callable[[Arguments], Any]  # of the arguments of a run

RUNS = (Workflow, BaseQueryEngine, BaseChatEngine, BaseRetriever, BaseSynthesizer)
STREAMS = {
    StreamingResponse: ("response_gen",),
    AsyncStreamingResponse: ("response_gen",),
    StreamingAgentChatResponse: ("chat_stream", "achat_stream"),
}
_NAMES_OF_INPUT = ("str_or_query_bundle", "message", "query")
_UNLABELLED = (AgentWorkflowStartEvent, ToolCallResult)  # steps of an agent that call no model
_UUID_CHARS = 37  # a span's id ends in one, with a dash before it

_patches = Patches()


def instrument() -> None:
    """
    Let every LLM call say where it belongs, and make top-level runs applications of their own.

    Their calls bear the name of the agent, of the workflow's step, ``retrieve`` or ``synthesize``
    as stage. A second call changes nothing.

    Changes: the official OpenAI client (`justitia_sdk.instrument`), three response classes, and the
    span handlers of LlamaIndex's root dispatcher.
    """
    switch_on(__name__)
    if _patches.is_on:
        return
    for kind, streams in STREAMS.items():
        _patches.replace(kind, "__init__", partial(keeping_streams, streams))
    _spans.hears_all = True
    _listen()


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on opening applications."""
    _patches.undo()
    switch_off(__name__)
    _spans.hears_all = False
    if not _spans.has_twins:
        handlers = get_dispatcher().span_handlers
        handlers[:] = [each for each in handlers if each is not _spans]


def _listen() -> None:
    handlers = get_dispatcher().span_handlers
    if not any(each is _spans for each in handlers):
        handlers.append(_spans)


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
    Return *thing*, every run of which is an application of its own, or a part of an open one.

    For its calls to carry hints, and for what it streams to be kept in it, call `instrument`.

    Args:
        thing: An agent, workflow, query engine, chat engine, retriever or synthesizer.
        name: The kind of application; by default the agent's name or the class's.
        input: What the runs work on; by default the question, message or start event.
        plan: The structure, if known; by default `plan_of` the thing.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    name = _name_of(thing) if name is None else name
    plan = plan_of(thing) if plan is None else plan

    def scope(arguments: Arguments) -> Any:
        works_on = _input_of(arguments) if input is None else input
        return justitia_sdk.application(
            name, input=works_on, plan=plan, weight=weight, deadline_s=deadline_s
        )

    scope({})  # speaks up before any run
    twin = own_runs(thing, (), lambda args, kwargs: scope({}))
    kind: Any = type(twin)
    kind._justitia_scope = staticmethod(scope)
    if isinstance(thing, Workflow):  # steps that are free functions are not inherited
        kind._step_functions = dict(type(thing)._step_functions)
    _spans.has_twins = True
    _listen()
    return twin


def plan_of(thing: object) -> justitia_sdk.Plan | None:
    """
    Return the structure of an agent, or of the agents that hand over to each other; else None.

    An agent with tools turns up to LlamaIndex's own limit. Which step of a workflow calls a model,
    and how often a query engine does, is known only by running it.
    """
    with or_warn("plan_left_out"):
        if isinstance(thing, AgentWorkflow):
            agents = sorted(thing.agents.values(), key=lambda each: each.name != thing.root_agent)
            turns = [(int(agent is agents[0]), DEFAULT_MAX_ITERATIONS) for agent in agents]
        elif isinstance(thing, BaseWorkflowAgent):
            agents = [thing]
            loops = thing.tools or thing.tool_retriever
            turns = [(1, DEFAULT_MAX_ITERATIONS if loops else 1)]
        else:
            return None
        stages = zip(agents, turns, strict=True)
        return justitia_sdk.Plan(
            tuple(justitia_sdk.Stage(_name_of(agent), calls=calls) for agent, calls in stages)
        )
    return None


class _Span(BaseSpan):  # type: ignore[misc]
    """What was opened when LlamaIndex entered a span."""

    opened: ExitStack


class _Spans(BaseSpanHandler[_Span]):  # type: ignore[misc]
    """Opens applications, stages and tool times as LlamaIndex enters spans, and closes them."""

    hears_all: bool = False  # or only of what `application` returned
    has_twins: bool = False

    def new_span(
        self,
        id_: str,
        bound_args: inspect.BoundArguments,
        instance: Any = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **_kwargs: Any,
    ) -> _Span | None:
        """Open what the span stands for, if anything."""
        name = id_[:-_UUID_CHARS].rpartition(".")[2]
        with or_warn("span_left_out"), ExitStack() as opened:
            for scope in self._scopes(name, bound_args.arguments, instance):
                opened.enter_context(scope)
            return _Span(id_=id_, parent_id=parent_span_id, opened=opened.pop_all())
        return None

    def _scopes(self, name: str, arguments: Arguments, instance: object) -> Iterator[Any]:
        if (new := self._application_of(instance)) is not None:
            yield Run(new(arguments), instance)
        elif self.hears_all or current_run.get() is not None:
            tool = next((each for each in arguments.values() if isinstance(each, ToolCall)), None)
            if tool is not None:
                yield tool_time(tool.tool_name)
            yield labelled(_stage_of(name, arguments, instance))

    def _application_of(self, instance: object) -> NewApplication | None:
        """Return what makes the application of this run, if it is to be one."""
        run = current_run.get()
        if run is not None and run.owner is instance:
            return None  # one of its inner spans
        own: NewApplication | None = getattr(type(instance), "_justitia_scope", None)
        is_top = justitia_sdk.current_application() is None
        if own is None and self.hears_all and is_top and isinstance(instance, RUNS):
            return lambda arguments: justitia_sdk.application(
                _name_of(instance), input=_input_of(arguments), plan=plan_of(instance)
            )
        return own

    def prepare_to_exit_span(self, id_: str, *_args: Any, **_kwargs: Any) -> _Span | None:
        """Close what the span has opened."""
        span: _Span | None = self.open_spans.get(id_)
        if span is not None:
            with or_warn("span_left_open"):
                span.opened.close()
        return span

    def prepare_to_drop_span(self, id_: str, *_args: Any, **_kwargs: Any) -> _Span | None:
        """Close what the span has opened; its failure is the framework's own."""
        return self.prepare_to_exit_span(id_)


_spans = _Spans()


def _stage_of(name: str, arguments: Arguments, instance: object) -> str | None:
    """Return what the calls of a span are called: by agent, tool, step or part of a query."""
    if isinstance(instance, BaseRetriever):
        return "retrieve"
    if isinstance(instance, BaseSynthesizer):
        return "synthesize"
    event = next((each for each in arguments.values() if _is_event(each)), None)
    if event is None or isinstance(event, _UNLABELLED) or name == "run":
        return None
    label = "tool_name" if isinstance(event, ToolCall) else "current_agent_name"
    return getattr(event, label, None) or name


def _is_event(value: object) -> bool:
    return isinstance(value[0] if isinstance(value, list) and value else value, Event)


def _name_of(thing: object) -> str:
    own = "name" if isinstance(thing, BaseWorkflowAgent) else "_workflow_name"
    return printable(getattr(thing, own, None) or type(thing).__name__)


def _input_of(arguments: Arguments) -> object:
    """Return what a run works on: a question, a message, or what its start event says."""
    start = arguments.get("start_event")
    if isinstance(start, StartEvent):
        said = {key: value for key, value in start.items() if value is not None}
        return said.get("user_msg") or (next(iter(said.values())) if len(said) == 1 else said)
    found = next((arguments[name] for name in _NAMES_OF_INPUT if name in arguments), None)
    return getattr(found, "query_str", found)
