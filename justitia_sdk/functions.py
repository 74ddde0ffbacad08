"""
Running a function inside a scope, whatever kind of function it is.

A generator is the hard case: an ambient scope set inside it would leak to its consumer between two
items, and two interleaved generators would see each other's. So each of its steps runs inside a
context of its own. The consumer's task stays the running one, so that time-outs and cancel scopes
inside an asynchronous generator go on working.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
NewScope = Callable[[], AbstractContextManager[object]]


def in_scope(function: Callable[P, R], new_scope: NewScope) -> Callable[P, R]:
    """Return *function* wrapped so that every call of it runs inside a fresh scope."""
    wrapped: Callable[..., Any]
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator_in_scope(function, new_scope)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator_in_scope(function, new_scope)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine_in_scope(function, new_scope)
    else:
        wrapped = _call_in_scope(function, new_scope)
    return cast(Callable[P, R], functools.wraps(function)(wrapped))


def _call_in_scope(function: Callable[..., Any], new_scope: NewScope) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with new_scope():
            return function(*args, **kwargs)

    return call


def _coroutine_in_scope(function: Callable[..., Any], new_scope: NewScope) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with new_scope():
            return await function(*args, **kwargs)

    return call


def _generator_in_scope(function: Callable[..., Any], new_scope: NewScope) -> Callable[..., Any]:
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        context = copy_context()
        scope = new_scope()
        context.run(scope.__enter__)
        try:
            return (yield from _steps_in(context, function(*args, **kwargs)))
        finally:
            context.run(scope.__exit__, None, None, None)

    return generate


def _async_generator_in_scope(
    function: Callable[..., AsyncGenerator[Any, Any]], new_scope: NewScope
) -> Callable[..., Any]:
    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        context = copy_context()
        scope = new_scope()
        context.run(scope.__enter__)
        try:
            items = function(*args, **kwargs)
            step, argument = items.asend, None
            while True:
                try:
                    item = await _In(context, step(argument))
                except StopAsyncIteration:
                    return
                try:
                    step, argument = items.asend, (yield item)
                except GeneratorExit:
                    await _In(context, items.aclose())
                    raise
                except BaseException as exc:
                    step, argument = items.athrow, exc
        finally:
            context.run(scope.__exit__, None, None, None)

    return generate


def _steps_in(context: Context, steps: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive *steps*, each inside *context*; what goes in and comes out passes unchanged."""
    step: Callable[[Any], Any] = steps.send
    argument: Any = None
    while True:
        try:
            item = context.run(step, argument)
        except StopIteration as stop:
            return stop.value
        try:
            step, argument = steps.send, (yield item)
        except GeneratorExit:
            context.run(steps.close)
            raise
        except BaseException as exc:
            step, argument = steps.throw, exc


class _In:
    """An awaitable whose steps run inside a context; the task that awaits it stays the same."""

    def __init__(self, context: Context, awaitable: Awaitable[Any]) -> None:
        self._context = context
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        return _steps_in(self._context, self._awaitable.__await__())
