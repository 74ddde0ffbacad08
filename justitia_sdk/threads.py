"""
Taking the scope where Python does not: bare threads, executors, other processes.

Only the scope goes along, no other context variable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

from .applications import Handle
from .context import current_scope
from .errors import UsageError
from .functions import in_scope

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=threading.Thread)


def copy_scope(function: Callable[P, R]) -> Callable[P, R]:
    """
    Return *function* such that it runs in the scope that is open now, wherever it is called.

    Functions, asynchronous functions and generators; outside any scope *function* itself::

        loop.run_in_executor(None, justitia.copy_scope(work))
    """
    scope = current_scope()
    return function if scope is None else in_scope(function, lambda: Handle(scope))


def wrap_thread(thread: T) -> T:
    """
    Let *thread*, which is not started yet, run in the scope that is open now; return it.

    Raises:
        UsageError: It is started already.

    Changes: the thread's ``run``.
    """
    if thread.ident is not None:
        raise UsageError("wrap_thread comes too late: the thread is started already")
    thread.run = copy_scope(thread.run)  # type: ignore[method-assign]
    return thread


def wrap_executor(executor: Executor) -> ScopedExecutor:
    """Return an executor that runs each piece of work in *executor*, in its submitter's scope."""
    return ScopedExecutor(executor)


class ScopedExecutor(Executor):
    """What `wrap_executor` returns: an executor of threads or processes, with scopes."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit *fn* to run in the scope that is open now."""
        scope = current_scope()
        if scope is None:
            return self._executor.submit(fn, *args, **kwargs)
        return self._executor.submit(_run_in, Handle(scope), fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., R],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[R]:
        """Map *fn* over *iterables*, all in the scope that is open now."""
        scope = current_scope()
        if scope is None:
            return self._executor.map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        return self._executor.map(
            _InScope(Handle(scope), fn), *iterables, timeout=timeout, chunksize=chunksize
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the executor down."""
        self._executor.shutdown(wait, cancel_futures=cancel_futures)

    def __getattr__(self, name: str) -> Any:
        if name == "_executor":  # not there yet: of a copy in the making
            raise AttributeError(name)
        return getattr(self._executor, name)


def _run_in(handle: Handle, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R:
    with handle:
        return function(*args, **kwargs)


class _InScope:
    """A function in a scope, which can be pickled if the function can."""

    def __init__(self, handle: Handle, function: Callable[..., Any]) -> None:
        self._handle = handle
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return _run_in(self._handle, self._function, *args)
