"""
DSPy: every run of a module is an application, and its calls say which predictor makes them.

Hints are added where requests leave, below DSPy's caches, whose keys hold all that is given to an
`LM`: at the transports of DSPy's own engine, and in LiteLLM, which is instrumented once DSPy loads
it. Runs and labels are taken at `Module`, tools at `Tool`; callbacks would be the wrong place, as
nothing set in one reaches the call. `Parallel` takes to its threads only what is DSPy's own, and
gets the scope besides.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

import justitia_sdk
from justitia_sdk import Plan

from ._adapter import Method, Patches, labelled, logger, own_runs, tool_time, top_level
from ._wire import heard, hints_for, one_call

try:
    import dspy
    from dspy.utils.parallelizer import ParallelExecutor
except ImportError as exc:
    raise ImportError("This integration needs DSPy: pip install justitia-sdk[dspy]") from exc

from ._dspy_plans import name_of, names_in, plan_of, plan_of_burst

__all__ = ["application", "instrument", "plan_of", "uninstrument"]

M = TypeVar("M", bound=dspy.Module)

_RUNS = ("__call__", "acall")
_SETTINGS = {"lm", "signature", "demos", "config"}  # arguments of a run that are no input

_patches = Patches()
_brought_litellm = threading.Event()


def instrument() -> None:
    """
    Make every run an application, or a part of the one that is open, and its calls carry hints.

    A run of a module outside any application is one of its own, of the module's name. The stage of
    a call is the name of its predictor within the module, unless a stage is open; tools are
    reported.

    Changes: `Module`, `Tool`, `BaseLM`, `Parallel`, the transports of DSPy's engine, and LiteLLM as
    `justitia_integrations.litellm` does, once DSPy uses it; a second call changes nothing.
    """
    if _patches.is_on:
        return
    for take in (_take_modules, _take_parallel, _take_calls, _take_transports, _take_litellm):
        try:
            take()
        except Exception:
            logger.warning("dspy_taken_in_part", exc_info=True)


def uninstrument() -> None:
    """Undo `instrument`; what `application` returned goes on opening applications."""
    _patches.undo()
    if _brought_litellm.is_set():
        _brought_litellm.clear()
        import_module(f"{__package__}.litellm").uninstrument()


def application(
    thing: M,
    name: str | None = None,
    *,
    input: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> M:
    """
    Return a module like *thing*, every run of which is an application of its own.

    Inside another application it is a part of that one. For its calls to carry hints, call
    `instrument`.

    Args:
        thing: A module; the one returned shares its parts.
        name: The kind of application; the module's name by default.
        input: What runs work on; each run's own arguments by default.
        plan: The structure; what `plan_of` finds by default.
        weight: Share of the server relative to other applications.
        deadline_s: Seconds within which the result is wanted, if that matters.

    Raises:
        ConfigurationError: An argument has no meaning.
    """
    options: dict[str, Any] = {"plan": plan, "weight": weight, "deadline_s": deadline_s}

    def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _scope_of(thing, args, kwargs, name=name, given=input, **options)

    scope((), {})  # speaks up before any run
    twin = own_runs(thing, _RUNS, scope)
    vars(twin).update(vars(thing))  # a copy leaves out callbacks and history
    return twin


# Runs and their calls


def _take_modules() -> None:
    for name in _RUNS:
        _patches.replace(dspy.Module, name, _running)
        _patches.replace(dspy.Tool, name, _timed)


def _running(original: Method) -> Method:
    """Return a module's run: an application of its own at the top, its calls labelled."""
    if inspect.iscoroutinefunction(original):

        async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
            _expect_plan(self)
            with labelled(_stage_of(self)):
                return await original(self, *args, **kwargs)

        return top_level(acall, lambda args, kwargs: _scope_of(args[0], args[1:], kwargs))

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        _expect_plan(self)
        with labelled(_stage_of(self)):
            return original(self, *args, **kwargs)

    return top_level(call, lambda args, kwargs: _scope_of(args[0], args[1:], kwargs))


def _scope_of(
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str | None = None,
    given: object = None,
    plan: Plan | None = None,
    weight: float = 1.0,
    deadline_s: float | None = None,
) -> Any:
    named = {key: value for key, value in kwargs.items() if key not in _SETTINGS}
    inputs = [*map(str, args), *(f"{key}: {value}" for key, value in named.items())]
    return justitia_sdk.application(
        name_of(module) if name is None else name,
        input="\n".join(inputs) if given is None else given,
        plan=plan,
        weight=weight,
        deadline_s=deadline_s,
    )


def _expect_plan(module: Any) -> None:
    """Let the application know the plan of a module that is run by no other."""
    if justitia_sdk.current_application() is not None and not dspy.settings.caller_modules:
        _expect(lambda: plan_of(module), is_more=False)


def _expect(find: Callable[[], Plan | None], *, is_more: bool) -> None:
    """
    Let the application know of what *find* returns, without a change of order.

    Args:
        find: Returns the stages found out.
        is_more: Whether that is more than what is known of them.
    """
    if (application := justitia_sdk.current_application()) is None:
        return
    try:
        plan = known = application.plan or Plan(())
        names = {stage.name for stage in known.stages}
        for stage in (find() or Plan(())).stages:
            if is_more or stage.name not in names:
                plan = plan.with_stage(stage)
        if plan != known:
            application.expect(plan)
    except Exception:
        logger.warning("run_without_plan", exc_info=True)


def _stage_of(module: Any) -> str | None:
    """Return the name of a predictor in the outermost running module that has it."""
    if not isinstance(module, dspy.Predict) or justitia_sdk.current_application() is None:
        return None
    try:
        return names_in([*(dspy.settings.caller_modules or ()), module]).get(id(module))
    except Exception:
        logger.warning("call_without_stage", exc_info=True)
        return None


def _timed(original: Method) -> Method:
    """Return a tool's run, the time of which is told; to end a loop is no tool's work."""
    if inspect.iscoroutinefunction(original):

        async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
            with tool_time(self.name) if _is_users(self) else nullcontext():
                return await original(self, *args, **kwargs)

        return acall

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with tool_time(self.name) if _is_users(self) else nullcontext():
            return original(self, *args, **kwargs)

    return call


def _is_users(tool: Any) -> bool:
    return not str(getattr(tool.func, "__module__", "")).startswith("dspy.predict.")


# Threads


def _take_parallel() -> None:
    _patches.replace(ParallelExecutor, "execute", _in_scope)
    _patches.replace(dspy.Parallel, "forward", _announced)


def _in_scope(original: Method) -> Method:
    def execute(self: Any, function: Method, data: Any) -> Any:
        return original(self, justitia_sdk.copy_scope(function), data)

    return execute


def _announced(original: Method) -> Method:
    """Let the application know of a burst of calls before the first of them."""

    def forward(self: Any, exec_pairs: Any, num_threads: int | None = None) -> Any:
        def burst() -> Plan | None:
            modules = [module for module, _ in exec_pairs if isinstance(module, dspy.Module)]
            outer = dspy.settings.caller_modules or ()
            most = num_threads or self.num_threads
            return plan_of_burst(modules, within=outer, num_threads=most)

        _expect(burst, is_more=True)
        return original(self, exec_pairs, num_threads)

    return forward


# The wire


def _take_calls() -> None:
    for name in _RUNS:
        _patches.replace(dspy.BaseLM, name, one_call)


def _take_transports() -> None:
    transports = import_module("dspy._vendor.lm15.transports")
    _patches.replace(transports.StdlibTransport, "stream", _hinting)
    _patches.replace(transports.StdlibAsyncTransport, "_do_stream", _hinting_async)


def _hinting(original: Method) -> Method:
    def stream(self: Any, request: Any) -> Any:
        response = original(self, _with_hints(request))
        heard(request.url, response.headers, is_good=response.status < 400)
        return response

    return stream


def _hinting_async(original: Method) -> Method:
    async def stream(self: Any, request: Any) -> Any:
        response = await original(self, _with_hints(request))
        heard(request.url, response.headers, is_good=response.status < 400)
        return response

    return stream


def _with_hints(request: Any) -> Any:
    hints = hints_for(request.url, request.headers)
    return replace(request, headers=[*request.headers, *hints.items()]) if hints else request


def _take_litellm() -> None:
    if "litellm.main" in sys.modules:
        _instrument_litellm()
    else:  # slow to import, and DSPy may do without
        loading = import_module("dspy.clients._litellm")
        _patches.replace(loading, "_configure_litellm_defaults", _instrumenting)


def _instrumenting(original: Method) -> Method:
    def configure(*args: Any) -> Any:
        original(*args)
        try:
            _instrument_litellm()
        except Exception:
            logger.warning("litellm_without_hints", exc_info=True)

    return configure


def _instrument_litellm() -> None:
    module = import_module(f"{__package__}.litellm")
    if not module.is_on():
        _brought_litellm.set()
        module.instrument()
