"""The decorator, on every kind of function; nothing of its scope reaches the consumer."""

import asyncio
import contextvars
import gc
import inspect
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import aclosing

import pytest

import justitia_sdk as justitia
from justitia_sdk.errors import ConfigurationError


def app_id() -> str | None:
    app = justitia.current_application()
    return None if app is None else app.app_id


@justitia.application("numbers")
def numbers() -> Iterator[str | None]:
    for _ in range(3):
        yield app_id()


@justitia.application("numbers")
async def async_numbers() -> AsyncIterator[str | None]:
    for _ in range(3):
        await asyncio.sleep(0)
        yield app_id()


def test_function_opens_an_application_for_each_call() -> None:
    """Every call of a decorated function is a run of its own, closed at the end."""
    run = justitia.application("triage")(app_id)
    first, second = run(), run()
    assert None not in (first, second)
    assert first != second
    assert app_id() is None


def test_decorated_function_keeps_its_face() -> None:
    """Name, arguments and result are those of the function."""

    @justitia.application("triage")
    def triage(ticket: str, *, level: int = 1) -> str:
        """Sort a ticket."""
        return ticket * level

    assert triage("a", level=3) == "aaa"
    assert (triage.__name__, triage.__doc__) == ("triage", "Sort a ticket.")


async def test_async_function_opens_an_application() -> None:
    """The scope holds over its awaits."""

    @justitia.application("triage")
    async def triage() -> tuple[str | None, str | None]:
        before = app_id()
        await asyncio.sleep(0)
        return before, app_id()

    assert inspect.iscoroutinefunction(triage)
    before, after = await triage()
    assert before is not None
    assert before == after


async def test_concurrent_calls_are_separate_applications() -> None:
    """Tasks that run at the same time do not see each other's."""

    @justitia.application("triage")
    async def triage() -> str | None:
        await asyncio.sleep(0)
        return app_id()

    ids = await asyncio.gather(*(triage() for _ in range(5)))
    assert len(set(ids)) == 5


def test_recursive_function_is_one_application() -> None:
    """A decorated function that calls itself stays within its first call's run."""

    @justitia.application("fold")
    def fold(depth: int) -> list[str | None]:
        return [app_id(), *(fold(depth - 1) if depth else [])]

    assert len(set(fold(3))) == 1


def test_generator_keeps_its_scope_to_itself() -> None:
    """The consumer never sees the generator's application."""
    seen = []
    for item in numbers():
        assert app_id() is None
        seen.append(item)
    assert None not in seen
    assert len(set(seen)) == 1


def test_interleaved_generators_keep_apart() -> None:
    """Two generators read in turn each keep their own application."""
    pairs = list(zip(numbers(), numbers(), strict=True))
    assert len({first for first, _ in pairs}) == 1
    assert len({second for _, second in pairs}) == 1
    assert pairs[0][0] != pairs[0][1]


def test_generator_inside_an_application_is_part_of_it() -> None:
    """The generator sees the scope it was started in."""
    with justitia.application("outer") as outer:
        assert set(numbers()) == {outer.app_id}


def test_generator_passes_send_throw_and_return() -> None:
    """A decorated generator is as good as the plain one."""

    @justitia.application("echo")
    def echo() -> Generator[object, object, str]:
        got = yield "ready"
        try:
            yield got
        except KeyError:
            yield "caught"
        return "done"

    assert inspect.isgeneratorfunction(echo)
    steps = echo()
    assert (next(steps), steps.send(1), steps.throw(KeyError())) == ("ready", 1, "caught")
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "done"


def test_stage_inside_a_generator_lasts_over_its_items() -> None:
    """A stage opened before a `yield` is still open after it, and only there."""

    @justitia.application("staged")
    def staged() -> Iterator[str]:
        app = justitia.current_application()
        assert app is not None
        with app.stage("map"):
            yield app.headers()["Justitia-Hints"]
            yield app.headers()["Justitia-Hints"]

    assert all('"stage":"map"' in header for header in staged())


@pytest.mark.parametrize("end", ["close", "collect", "raise"])
def test_abandoned_generator_finishes_its_application(end: str) -> None:
    """Closed, dropped or failing: the application ends with the generator."""
    apps: list[justitia.Application | None] = []

    @justitia.application("numbers")
    def items() -> Iterator[int]:
        apps.append(justitia.current_application())
        yield 1
        raise ZeroDivisionError

    steps = items()
    next(steps)
    if end == "close":
        steps.close()  # type: ignore[attr-defined]
    elif end == "collect":
        del steps
        gc.collect()
    else:
        with pytest.raises(ZeroDivisionError):
            next(steps)
    assert apps[0] is not None
    assert apps[0].is_finished


def test_clean_up_of_a_closed_generator_is_inside_its_application() -> None:
    """What a generator does when it is closed still belongs to its run."""
    seen: list[str | None] = []

    @justitia.application("numbers")
    def items() -> Iterator[str | None]:
        try:
            yield app_id()
        finally:
            seen.append(app_id())

    steps = items()
    first = next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert seen == [first]


async def test_async_generator_keeps_its_scope_to_itself() -> None:
    """The asynchronous consumer never sees the generator's application."""
    seen = []
    async for item in async_numbers():
        assert app_id() is None
        seen.append(item)
    assert None not in seen
    assert len(set(seen)) == 1


async def test_interleaved_async_generators_keep_apart() -> None:
    """Two asynchronous generators read in turn keep their own applications."""
    first, second = async_numbers(), async_numbers()
    ids = [(await anext(first), await anext(second)) for _ in range(3)]
    assert len(set(ids)) == 1
    assert ids[0][0] != ids[0][1]


async def test_async_generator_passes_asend_and_athrow() -> None:
    """A decorated asynchronous generator is as good as the plain one."""

    @justitia.application("echo")
    async def echo():  # type: ignore[no-untyped-def]
        got = yield "ready"
        try:
            yield got
        except KeyError:
            yield "caught"

    assert inspect.isasyncgenfunction(echo)
    steps = echo()
    assert await anext(steps) == "ready"
    assert await steps.asend(1) == 1
    assert await steps.athrow(KeyError()) == "caught"
    with pytest.raises(StopAsyncIteration):
        await anext(steps)


async def test_async_generator_closed_by_another_task_closes_cleanly() -> None:
    """The most reported fault of ambient scopes: a generator closed in a foreign context."""
    apps: list[justitia.Application | None] = []

    @justitia.application("numbers")
    async def items() -> AsyncIterator[int]:
        apps.append(justitia.current_application())
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            apps.append(justitia.current_application())

    steps = items()
    await anext(steps)
    await asyncio.create_task(steps.aclose())  # type: ignore[attr-defined]
    assert apps[0] is apps[1]
    assert apps[0] is not None
    assert apps[0].is_finished


async def test_async_generator_runs_in_the_consumers_task() -> None:
    """Time-outs and cancel scopes inside the generator need its steps in one task."""

    @justitia.application("tasks")
    async def tasks() -> AsyncIterator[object]:
        async with asyncio.timeout(60):
            yield asyncio.current_task()
            await asyncio.sleep(0)
            yield asyncio.current_task()

    assert [task async for task in tasks()] == [asyncio.current_task()] * 2


async def test_cancelled_async_generator_finishes_its_application() -> None:
    """A consumer cancelled while it waits ends the application."""
    apps: list[justitia.Application | None] = []
    waiting = asyncio.Event()

    @justitia.application("wait")
    async def wait() -> AsyncIterator[int]:
        apps.append(justitia.current_application())
        waiting.set()
        await asyncio.Event().wait()
        yield 1

    async def consume() -> None:
        async with aclosing(wait()) as items:  # type: ignore[type-var]
            await anext(items)

    task = asyncio.create_task(consume())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert apps[0] is not None
    assert apps[0].is_finished


def test_plain_scope_in_a_foreign_context_leaves_quietly() -> None:
    """A `with` around a `yield` that is closed elsewhere raises nothing."""

    def items() -> Iterator[int]:
        with justitia.application("plain"):
            yield 1

    steps = items()
    contextvars.copy_context().run(next, steps)
    steps.close()  # type: ignore[attr-defined]
    assert app_id() is None


def test_decorating_no_function_is_refused() -> None:
    """The decorator says so when there is nothing to decorate."""
    for thing in ("ticket", dict):
        with pytest.raises(ConfigurationError, match="decorates"):
            justitia.application("triage")(thing)  # type: ignore[arg-type]
