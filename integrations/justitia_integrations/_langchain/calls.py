"""
Running LangChain's methods in scopes, whatever their kind, and labelling the calls models make.

A label is found when a model's run starts, by the callback of `structure`, and put on
the call where the model makes its request. A context variable hands it over: callbacks that run
inline share the context of the run they belong to. (One set in other callbacks would be lost.)
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, Generic, TypeVar

from langchain_core.runnables.config import var_child_runnable_config

import justitia_sdk

from .._adapter import Method, labelled

V = TypeVar("V")
Scope = Callable[[tuple[Any, ...], dict[str, Any]], AbstractContextManager[object]]

_END = object()
_label: ContextVar[tuple[str, str | None]] = ContextVar("justitia_label", default=("", None))


def note_label(label: str | None) -> None:
    """Say which stage the call that is about to be made here belongs to."""
    if (application := justitia_sdk.current_application()) is not None:
        _label.set((application.app_id, label))


def labelled_call(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
    """Return the scope of a model's request: its stage is open, unless another one is."""
    application = justitia_sdk.current_application()
    app_id, label = _label.get()
    is_ours = application is not None and application.app_id == app_id
    return labelled(label if is_ours else None)


def nothing(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> AbstractContextManager[None]:
    """Return a scope that does nothing."""
    return nullcontext()


def around(
    function: Method, scope: Scope, then: Callable[[], None] = lambda: None, *, like: Any = None
) -> Method:
    """
    Return *function* wrapped: it runs inside ``scope(args, kwargs)``, and *then* comes after it.

    Of a generator it is the first step that runs inside: there the request is made and threads are
    started, and a scope that stays open between two items would be seen by whoever reads them.

    Args:
        function: Plain, asynchronous or a generator.
        scope: Makes the context manager of one call.
        then: Called when the call has ended, however it has.
        like: A function of the same kind, where *function* does not tell its own.
    """
    kind = like or function
    if isasyncgenfunction(kind):
        return wraps(kind)(_async_generator(function, scope, then))
    if isgeneratorfunction(kind):
        return wraps(kind)(_generator(function, scope, then))
    if iscoroutinefunction(kind):
        return wraps(kind)(_coroutine(function, scope, then))
    return wraps(kind)(_plain(function, scope, then))


def _plain(function: Method, scope: Scope, then: Callable[[], None]) -> Method:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with scope(args, kwargs):
                return function(*args, **kwargs)
        finally:
            then()

    return call


def _coroutine(function: Method, scope: Scope, then: Callable[[], None]) -> Method:
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with scope(args, kwargs):
                return await function(*args, **kwargs)
        finally:
            then()

    return call


def _generator(function: Method, scope: Scope, then: Callable[[], None]) -> Method:
    def generate(*args: Any, **kwargs: Any) -> Iterator[Any]:
        items = function(*args, **kwargs)
        try:
            with scope(args, kwargs):
                first = next(items, _END)
            if first is not _END:
                yield first
                yield from items
        finally:
            items.close()
            then()

    return generate


def _async_generator(function: Method, scope: Scope, then: Callable[[], None]) -> Method:
    async def generate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items = function(*args, **kwargs)
        try:
            with scope(args, kwargs):
                first = await anext(items, _END)
            if first is not _END:
                yield first
                async for item in items:
                    yield item
        finally:
            await items.aclose()
            then()

    return generate


def manager_of(config: Any) -> Any:
    """Return the callbacks of the run that a call with *config* is part of; None at the top."""
    given = config[0] if isinstance(config, list) and config else config
    for each in (given, var_child_runnable_config.get()):
        callbacks = each.get("callbacks") if isinstance(each, Mapping) else None
        if getattr(callbacks, "parent_run_id", None) is not None:
            return callbacks
    return None


class ByIdentity(Generic[V]):
    """Values made once for objects that cannot be hashed, and forgotten with them."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[weakref.ref[Any], V]] = {}

    def of(self, key: object, make: Callable[[], V]) -> V:
        """Return the value of *key*, made by *make* the first time."""
        known = self._values.get(id(key))
        if known is not None and known[0]() is key:
            return known[1]
        value = make()

        def forget(_: object, place: int = id(key)) -> None:
            self._values.pop(place, None)

        self._values[id(key)] = (weakref.ref(key, forget), value)
        return value
