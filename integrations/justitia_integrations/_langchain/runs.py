"""
Runs of chains, graphs and agents: each an application of its own, or part of the one that is open.

`instrument` replaces the methods by which LangChain's composed runnables are run; a run within a
run belongs to that one. `application` makes a copy whose runs are applications. A model, prompt or
tool that is run by itself is none.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, TypeVar, cast
from weakref import WeakSet

from langchain_core.messages import convert_to_messages
from langchain_core.runnables import Runnable, RunnableBinding, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase

import justitia_sdk
from justitia_sdk import Application, Plan

from .._adapter import Method, Patches, RunScope, logger, own_runs, switch_off, switch_on, top_level
from .calls import around, labelled_call, manager_of, nothing
from .observer import unwatch, watch
from .receipts import listeners, report
from .shape import OWN_NAME, shape_of
from .structure import announcing

R = TypeVar("R", bound="Runnable[Any, Any]")
F = TypeVar("F")

_RUNS = ("invoke", "ainvoke", "stream", "astream", "transform", "atransform")
_BATCHES = ("batch", "abatch")
_BATCHES_AS_COMPLETED = ("batch_as_completed", "abatch_as_completed")
_REQUESTS = ("_generate", "_agenerate", "_stream", "_astream")
_RESPONSES_REQUESTS = ("_stream_responses", "_astream_responses")
_COMPOSED = {
    "langchain_core.runnables.base": (
        "RunnableSequence",
        "RunnableParallel",
        "RunnableLambda",
        "RunnableEachBase",
    ),
    "langchain_core.runnables.branch": ("RunnableBranch",),
    "langchain_core.runnables.fallbacks": ("RunnableWithFallbacks",),
    "langchain_core.runnables.passthrough": ("RunnableAssign",),
    "langchain_core.runnables.retry": ("RunnableRetry",),
    "langchain_core.runnables.router": ("RouterRunnable",),
    "langgraph.pregel": ("Pregel",),
}
_MODELS = {
    "langchain_openai.chat_models.base": ("BaseChatOpenAI",),
    "langchain_openai.llms.base": ("BaseOpenAI",),
}

_patches = Patches()
_lock = threading.Lock()


def instrument() -> None:
    """
    Make every run an application, or a part of the one that is open, and its calls carry hints.

    A run of a chain, graph or agent outside any application is one of its own, of the name that
    LangChain has for it. Calls are labelled with the node or step, tools are reported.

    Changes: the methods of LangChain and LangGraph that run things, those of OpenAI models that
    make requests, and the official client (`justitia_sdk.instrument`); a second call changes
    nothing.
    """
    switch_on(__name__)
    watch("instrument")
    with _lock:
        if _patches.is_on:
            return
        for owner in _classes(_COMPOSED):
            _replace(owner, _RUNS, _run)
            _replace(owner, _BATCHES, _batch_of_runs)
        _replace(Runnable, (*_BATCHES, *_BATCHES_AS_COMPLETED), batch_announced)
        for owner in _classes(_MODELS):
            _replace(owner, (*_REQUESTS, *_RESPONSES_REQUESTS), _request)


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on."""
    with _lock:
        _patches.undo()
    unwatch("instrument")
    switch_off(__name__)


def application(
    runnable: R,
    name: str | None = None,
    *,
    input: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> R:
    """
    Return a runnable like *runnable*, every run of which is an application of its own.

    Each input of a batch is one, too. Inside an application a run is a part of that one. What is
    known of its structure is announced, unless *plan* tells it. If a callback handler given with
    the run has ``on_custom_event``, it gets the run's receipt as event ``"justitia_receipt"`` after
    the end, from a thread of its own. Make it once, not for every run: a class is made for it.

    Args:
        runnable: A chain, graph, agent or model; it stays as it is.
        name: The kind of application; by default the run's or the runnable's name.
        input: What the run works on; by default its input.
        plan: The structure, if LangChain does not know it.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    told: dict[str, Any] = {"plan": plan, "weight": weight, "deadline_s": deadline_s}
    justitia_sdk.application(name or "runnable", **told)  # speaks up now, not with the first run
    watch("application")
    return cast(R, _own(runnable, name, input, told))


def _own(runnable: Any, name: str | None, input: object, told: Mapping[str, Any]) -> Any:
    """Return the copy of *runnable* whose runs are applications, of which *told* is told."""
    if isinstance(runnable, RunnableBindingBase) and "invoke" not in vars(type(runnable)):
        inner = _own(runnable.bound, name or runnable.get_name(), input, told)
        return runnable.model_copy(update={"bound": inner})
    opened: WeakSet[Application] = WeakSet()

    def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
        if justitia_sdk.current_application() in opened:
            return _as_it_is  # one of its methods calls another
        config = _config(args, kwargs)
        said = _input(args, kwargs) if input is None else input
        new = justitia_sdk.application(name or _name(runnable, config), input=said, **told)
        return _OwnRun(new, config, listeners(config, getattr(runnable, "config", None)), opened)

    twin = own_runs(runnable, _RUNS, scope)
    setattr(type(twin), OWN_NAME, name or runnable.get_name())
    for method in (*_BATCHES, *_BATCHES_AS_COMPLETED):
        setattr(type(twin), method, _one_by_one(method))
    # A sequence by itself would be dissolved into the next one that it becomes a part of.
    return RunnableBinding(bound=twin) if isinstance(twin, RunnableSequence) else twin


def plan_of(runnable: Runnable[Any, Any]) -> Plan | None:
    """
    Return the structure of *runnable*, as far as it is known before its first call.

    A stage has the label that its calls will carry: the LangGraph node, or the step of a chain. A
    loop counts once. Not in the plan are stages that only the run fills: those a `Send` leads to,
    and tools. None if nothing is known.
    """
    try:
        return shape_of(runnable).plan
    except Exception:
        logger.warning("plan_not_found", exc_info=True)
        return None


class _OwnRun:
    """The scope of one run of what `application` returned."""

    def __init__(
        self, scope: RunScope, config: Any, heard_by: list[Any], opened: WeakSet[Application]
    ) -> None:
        self._scope = scope
        self._config = config
        self._listeners = heard_by
        self._opened = opened
        self._application: Application | None = None

    def __call__(self, function: Method) -> Method:
        run = self._scope(around(function, self._begin))
        return around(run, nothing, self._end) if self._listeners else run

    def _begin(self, args: Any, _kwargs: Any) -> AbstractContextManager[object]:
        self._application = justitia_sdk.current_application()
        if self._application is not None:
            self._opened.add(self._application)
        return announcing(args[0], self._config)

    def _end(self) -> None:
        try:
            if self._application is not None:
                report(self._application, self._listeners)
        except Exception:  # no thread to be had, at the very end of a program for one
            logger.warning("no_receipt", exc_info=True)


def _as_it_is(function: F) -> F:
    return function


def _one_by_one(method: str) -> Method:
    """Return the method of that name which runs each input by itself, as `Runnable` has it."""

    def batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(Runnable, method)(self, *args, **kwargs)

    return batch


def _classes(places: Mapping[str, Iterable[str]]) -> Iterator[type]:
    """Yield those of the classes that are installed."""
    for module, names in places.items():
        try:
            found = import_module(module)
        except ImportError:
            continue
        yield from (getattr(found, name) for name in names if hasattr(found, name))


def _replace(owner: type, names: Iterable[str], wrap: Any) -> None:
    for name in names:
        if name in vars(owner):
            _patches.replace(owner, name, wrap)


def _request(original: Method) -> Method:
    return around(original, labelled_call)


def _run(original: Method) -> Method:
    def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
        config = _config(args[1:], kwargs)
        if manager_of(config) is not None:
            return _as_it_is
        name = _name(args[0], config)
        return justitia_sdk.application(name, input=_input(args[1:], kwargs))

    def announced(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[object]:
        return announcing(args[0], _config(args[1:], kwargs))

    return top_level(around(original, announced), scope)


def batch_announced(original: Method) -> Method:
    """Return *original*, a method that runs a batch, announcing the calls it will make."""

    def announced(args: tuple[Any, ...], kwargs: dict[str, Any]) -> AbstractContextManager[object]:
        inputs = args[1] if len(args) > 1 else kwargs.get("inputs", ())
        num_runs = len(inputs) if isinstance(inputs, Sized) else 0
        return announcing(args[0], _config(args[1:], kwargs), num_runs=num_runs)

    return around(original, announced)


def _batch_of_runs(original: Method) -> Method:
    """Return *original* for inside an application; outside each input is run by itself."""
    announced, one_by_one = batch_announced(original), _one_by_one(original.__name__)

    def batch(self: Any, *args: Any, **kwargs: Any) -> Any:
        is_lone = justitia_sdk.current_application() is None
        is_own = is_lone and manager_of(_config(args, kwargs)) is None
        return (one_by_one if is_own else announced)(self, *args, **kwargs)

    return around(batch, nothing, like=original)


def _config(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Return the configuration among a run's arguments."""
    return args[1] if len(args) > 1 else kwargs.get("config")


def _name(runnable: Any, config: Any) -> str:
    """Return the name of a run, printable and of at most 128 characters."""
    told = (each for each in (config, getattr(runnable, "config", None)) if each)
    given = (each.get("run_name") for each in told if isinstance(each, Mapping))
    name = str(next(filter(None, given), None) or runnable.get_name())
    return "".join(char for char in name if char.isprintable())[:128] or "runnable"


def _input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """Return what a run works on: what its messages say, if it is made of messages."""
    value = args[0] if args else kwargs.get("input")
    if isinstance(value, str):
        return value
    if isinstance(value, Iterator | AsyncIterator):
        return None
    messages: Any = value.get("messages") if isinstance(value, Mapping) else value
    try:
        return "\n".join(str(message.text) for message in convert_to_messages(messages))
    except Exception:
        return value
