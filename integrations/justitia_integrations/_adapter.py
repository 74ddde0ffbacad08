"""
What the integrations share: taking a framework's methods over, and running them in scopes.

Knows no framework. Everything here fails open: a framework that changed under us goes on without
hints, with one warning, and never breaks a run.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, Protocol, TypeVar, cast

import justitia_sdk

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Method = Callable[..., Any]

logger = logging.getLogger("justitia.integrations")


class RunScope(Protocol):
    """What `justitia_sdk.application` returns: decorates a function of any kind."""

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return *function*, each call of which is an application of its own."""


NewScope = Callable[[tuple[Any, ...], dict[str, Any]], RunScope]


_users: set[str] = set()  # integrations that want the official clients to send hints
_was_on = False
_switching = threading.Lock()


def switch_on(user: str) -> None:
    """Let the official clients send hints, until all that asked for it have switched off again."""
    global _was_on
    with _switching:
        if not _users:
            _was_on = justitia_sdk.is_instrumented()
            justitia_sdk.instrument()
        _users.add(user)


def switch_off(user: str) -> None:
    """Take *user*'s wish back; what was on before anybody asked stays on."""
    with _switching:
        if user in _users:
            _users.remove(user)
            if not _users and not _was_on:
                justitia_sdk.uninstrument()


class Patches:
    """Methods of a framework's classes (or modules) that are replaced, and put back by `undo`."""

    def __init__(self) -> None:
        self._replaced: list[tuple[object, str, Any, Any]] = []  # owner, name, original, ours
        self._lock = threading.RLock()

    @property
    def is_on(self) -> bool:
        """Whether anything is replaced now."""
        return bool(self._replaced)

    def replace(self, owner: object, name: str, wrap: Callable[[Method], Method]) -> None:
        """
        Replace ``owner.name`` by ``wrap(original)``; static and class methods stay what they are.

        Raises:
            AttributeError: *owner* itself has no such attribute.
        """
        with self._lock:
            original = vars(owner).get(name)
            if original is None:
                raise AttributeError(f"{owner!r} has no {name!r} of its own")
            ours = _rewrap(original, wrap)
            self._replaced.append((owner, name, original, ours))
            setattr(owner, name, ours)

    def undo(self) -> None:
        """Put the originals back; what another library has wrapped since stays as it is."""
        with self._lock:
            while self._replaced:
                owner, name, original, ours = self._replaced.pop()
                if vars(owner).get(name) is ours:
                    setattr(owner, name, original)


def _rewrap(original: Any, wrap: Callable[[Method], Method]) -> Any:
    if isinstance(original, staticmethod | classmethod):
        inner = original.__func__
        return type(original)(functools.wraps(inner)(wrap(inner)))
    return functools.wraps(original)(wrap(original))


def own_runs(thing: T, methods: Iterable[str], scope: NewScope) -> T:
    """
    Return a copy of *thing* each run of which is an application of its own.

    The copy is shallow and of a subclass made here, so `isinstance` holds and *thing* itself is
    not touched.

    Args:
        thing: An agent, chain, crew or module.
        methods: Names of the methods that run it: functions, asynchronous ones or generators.
        scope: Makes the application of one run from the run's arguments.
    """
    kind = type(thing)
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
    }
    runs = {name: _each_in(getattr(kind, name), scope) for name in methods if hasattr(kind, name)}
    twin = copy.copy(thing)
    # Past `__setattr__`: many frameworks' objects are models that check what is assigned.
    object.__setattr__(twin, "__class__", type(kind.__name__, (kind,), {**names, **runs}))
    return twin


def top_level(function: Callable[P, R], scope: NewScope) -> Callable[P, R]:
    """
    Return *function* wrapped: a call outside any application becomes one of its own.

    Args:
        function: Of any kind: plain, asynchronous, generator.
        scope: Makes the application of one call from the call's arguments.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        outer = justitia_sdk.current_application()
        if outer is not None and not outer.is_finished:
            return function(*args, **kwargs)
        return _in_new(function, scope, args, kwargs)(*args, **kwargs)

    return _same_kind(run, function)


def _each_in(function: Method, scope: NewScope) -> Method:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # The run's own arguments begin after self.
        return _in_new(function, scope, args[1:], kwargs)(*args, **kwargs)

    return _same_kind(run, function)


def _in_new(
    function: Callable[P, R], scope: NewScope, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[P, R]:
    """Return *function* inside a new application; itself if none can be made."""
    try:
        return scope(args, kwargs)(function)
    except Exception:
        logger.warning("run_without_application", exc_info=True)
        return function


def _same_kind(run: Callable[P, R], function: Method) -> Callable[P, R]:
    """Return *run* such that `inspect` calls it what it calls *function*."""
    if inspect.iscoroutinefunction(function):
        return cast(Callable[P, R], _coroutine_function(run))
    if inspect.isasyncgenfunction(function):
        return cast(Callable[P, R], _async_generator_function(run))
    if inspect.isgeneratorfunction(function):
        return cast(Callable[P, R], _generator_function(run))
    return run


def _coroutine_function(run: Method) -> Method:
    @functools.wraps(run)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await run(*args, **kwargs)

    return call


def _generator_function(run: Method) -> Method:
    @functools.wraps(run)
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from run(*args, **kwargs))

    return generate


def _async_generator_function(run: Method) -> Method:
    @functools.wraps(run)
    async def generate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = run(*args, **kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return generate


def labelled(name: str | None) -> Any:
    """
    Return a scope, for ``with`` or ``async with``, that labels its calls with stage *name*.

    It does nothing outside an application, without a name, and where a stage is open already.
    """
    application = justitia_sdk.current_application()
    if application is None or not name or justitia_sdk.current_stage() is not None:
        return nullcontext()
    return _or_nothing(lambda: application.stage(printable(name)))


def tool_time(name: str) -> Any:
    """
    Return a scope, for ``with`` or ``async with``, around the time of tool *name*.

    It does nothing outside an application.
    """
    application = justitia_sdk.current_application()
    if application is None:
        return nullcontext()
    return _or_nothing(lambda: application.tool(printable(name)))


def _or_nothing(make: Callable[[], AbstractContextManager[Any]]) -> Any:
    try:
        return make()
    except Exception:
        logger.warning("label_left_out", exc_info=True)
        return nullcontext()


def printable(name: str) -> str:
    """Return *name* as the wire takes it: printable, of at most 128 characters."""
    return "".join(char if char.isprintable() else " " for char in name)[:128].strip() or "unnamed"
