"""The scope taken along by hand: functions, threads, executors of threads and of processes."""

import asyncio
import copy
import inspect
import multiprocessing
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.thread import BrokenThreadPool
from functools import partial
from typing import Any

import pytest

import justitia_sdk as justitia
from justitia_sdk.errors import UsageError

SPAWN = multiprocessing.get_context("spawn")


def seen(*_args: object) -> tuple[str | None, str | None]:
    """Return the application and the stage that a call made here would carry."""
    app = justitia.current_application()
    return (None if app is None else app.app_id), justitia.current_stage()


def seen_from(pid: int, *_args: object) -> tuple[bool, tuple[str | None, str | None]]:
    return os.getpid() != pid, seen()


class Worker(threading.Thread):
    """A thread with a `run` of its own."""

    def run(self) -> None:
        self.seen = seen()


def test_copied_scope_is_that_of_the_copying() -> None:
    """Wherever and whenever the function runs, it runs in the scope in which it was copied."""
    with justitia.application("triage") as app, app.stage("map"):
        scoped = justitia.copy_scope(seen)
    with justitia.application("other") as other:
        assert scoped() == (app.app_id, "map")
        assert seen() == (other.app_id, None)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(scoped, range(20))) == {(app.app_id, "map")}
    assert seen() == (None, None)


def test_copied_function_keeps_its_face() -> None:
    """Name, arguments, result and exceptions are those of the function."""

    def divide(one: float, *, by: float) -> float:
        """Divide."""
        return one / by

    with justitia.application("triage"):
        scoped = justitia.copy_scope(divide)
    assert (scoped.__name__, scoped.__doc__, scoped(6, by=2)) == ("divide", "Divide.", 3)
    with pytest.raises(ZeroDivisionError):
        scoped(6, by=0)
    assert seen() == (None, None)


def test_outside_any_scope_there_is_nothing_to_copy() -> None:
    """The function is returned as it is."""
    assert justitia.copy_scope(seen) is seen


@pytest.mark.parametrize("function", [partial(seen, 1), Worker.mro, print, str.upper])
def test_anything_callable_can_be_copied(function: Any) -> None:
    """Partial functions, methods and built-in ones too."""
    with justitia.application("triage"):
        assert callable(justitia.copy_scope(function))


async def test_copied_async_functions_and_generators() -> None:
    """They stay what they are, and each of their steps is inside."""

    async def ask() -> Any:
        await asyncio.sleep(0)
        return seen()

    def items() -> Iterator[Any]:
        yield seen()
        yield seen()

    async def aitems() -> AsyncIterator[Any]:
        yield seen()
        await asyncio.sleep(0)
        yield seen()

    with justitia.application("triage") as app:
        scoped, steps, asteps = (justitia.copy_scope(each) for each in (ask, items, aitems))
    assert inspect.iscoroutinefunction(scoped)
    here = (app.app_id, None)
    assert await scoped() == here  # type: ignore[misc]
    assert list(steps()) == [here] * 2  # type: ignore[call-overload]
    assert [item async for item in asteps()] == [here] * 2  # type: ignore[attr-defined]
    assert seen() == (None, None)


@pytest.mark.parametrize("make", [Worker, lambda: threading.Timer(0, lambda: None)])
def test_wrapped_thread_runs_in_the_scope(make: Any) -> None:
    """Plain threads, subclasses with a `run` of their own, timers; the thread is returned."""
    found = []
    with justitia.application("triage") as app, app.stage("map"):
        thread = make()
        if isinstance(thread, threading.Timer):
            thread.function = lambda: found.append(seen())
        assert justitia.wrap_thread(thread) is thread
    thread.start()
    thread.join()
    assert (found or [thread.seen]) == [(app.app_id, "map")]


def test_thread_that_runs_already_is_refused() -> None:
    """It is too late, which is told rather than passed over."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with justitia.application("triage"), pytest.raises(UsageError, match="started"):
            justitia.wrap_thread(thread)
    finally:
        stop.set()
        thread.join()


def test_wrapped_executor_runs_in_its_submitters_scope() -> None:
    """One pool serves two applications, and work from outside any is outside."""
    pool = justitia.wrap_executor(ThreadPoolExecutor(2))
    with justitia.application("first") as first, first.stage("map"):
        one, many = pool.submit(seen), pool.map(seen, range(4))
    with justitia.application("second") as second:
        two = pool.submit(seen)
    three = pool.submit(seen)
    assert one.result() == (first.app_id, "map")
    assert list(many) == [(first.app_id, "map")] * 4
    assert two.result() == (second.app_id, None)
    assert three.result() == (None, None)
    pool.shutdown()


def test_wrapped_executor_leaves_nothing_in_its_threads() -> None:
    """The pool itself, used past the wrapper, is as before."""
    with ThreadPoolExecutor(1) as inner, justitia.application("triage"):
        justitia.wrap_executor(inner).submit(seen).result()
        assert inner.submit(seen).result() == (None, None)


def test_wrapped_executor_passes_arguments_results_and_errors() -> None:
    """It is an executor like any other, in ``with`` too."""
    with justitia.application("triage"), justitia.wrap_executor(ThreadPoolExecutor(2)) as pool:
        assert isinstance(pool, Executor)
        assert pool.submit(int, "ff", base=16).result() == 255
        assert list(pool.map(pow, [2, 3], [3, 2])) == [8, 9]
        with pytest.raises(ValueError, match="invalid literal"):
            pool.submit(int, "x").result()
        with pytest.raises(TimeoutError):
            list(pool.map(time.sleep, [0.2], timeout=0.01))
    with pytest.raises(RuntimeError):
        pool.submit(int)


def test_wrapped_executor_cancels_on_shutdown() -> None:
    """Work that waits is cancelled where that is asked for."""
    pool, hold = justitia.wrap_executor(ThreadPoolExecutor(1)), threading.Event()
    with justitia.application("triage"):
        pool.submit(hold.wait, 10)
        waiting = pool.submit(seen)
    pool.shutdown(wait=False, cancel_futures=True)
    hold.set()
    assert waiting.cancelled()


def test_wrapped_executor_shows_what_is_inside() -> None:
    """What somebody asks of the executor itself is answered by it; copies are no trap."""
    inner = ThreadPoolExecutor(3)
    pool = justitia.wrap_executor(inner)
    assert pool._max_workers == 3
    assert copy.copy(pool)._max_workers == 3
    with pytest.raises(AttributeError):
        _ = pool.no_such_thing
    pool.shutdown()


def test_broken_pool_raises_as_ever() -> None:
    """The fault of a pool is the pool's own."""

    def fail() -> None:
        raise ZeroDivisionError

    pool = justitia.wrap_executor(ThreadPoolExecutor(1, initializer=fail))
    with justitia.application("triage"):
        first = pool.submit(seen)
        with pytest.raises(BrokenThreadPool):
            first.result()
        with pytest.raises(BrokenThreadPool):
            pool.submit(seen)
    pool.shutdown()


async def test_wrapped_executor_serves_the_event_loop() -> None:
    """`run_in_executor`, which drops the scope, keeps it with a wrapped executor."""
    loop = asyncio.get_running_loop()
    with justitia.application("triage") as app, ThreadPoolExecutor(1) as inner:
        assert await loop.run_in_executor(inner, seen) == (None, None)
        assert await loop.run_in_executor(justitia.wrap_executor(inner), seen) == (app.app_id, None)


def test_wrapped_process_pool_carries_the_scope() -> None:
    """Work in other processes belongs to its submitter's application too, mapped in chunks too."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as inner:
        pool = justitia.wrap_executor(inner)
        with justitia.application("triage") as app, app.stage("map"):
            here = (True, (app.app_id, "map"))
            assert pool.submit(seen_from, os.getpid()).result(60) == here
            mapped = pool.map(partial(seen_from, os.getpid()), range(6), chunksize=3)
            assert list(mapped) == [here] * 6
        with justitia.application("other") as other:
            assert pool.submit(seen_from, os.getpid()).result(60) == (True, (other.app_id, None))
        assert pool.submit(seen_from, os.getpid()).result(60) == (True, (None, None))
