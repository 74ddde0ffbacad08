"""Handles: an application taken to other threads, tasks and processes. Forks need none."""

import asyncio
import contextvars
import copy
import gc
import os
import pickle
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import justitia_sdk as justitia
from justitia_sdk.applications import live
from justitia_sdk.context import current_scope

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def call() -> None:
    with justitia.OpenAI() as client:
        client.chat.completions.create(**PROMPT)


def app_id() -> str | None:
    app = justitia.current_application()
    return None if app is None else app.app_id


def elsewhere(handle: justitia.Handle) -> justitia.Handle:
    """Return *handle* as another process would have it: the application itself is not there."""
    sent = pickle.dumps(handle)
    app = live.pop(handle.application.app_id)
    try:
        return pickle.loads(sent)  # type: ignore[no-any-return]
    finally:
        live[app.app_id] = app


def in_child(work: Any) -> int:
    """Run *work* in a forked child and return its exit code: 0 where it returned true."""
    if (pid := os.fork()) == 0:
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_sixteen_threads_use_one_handle(server: Any) -> None:
    """All calls are the application's, at the stage at which the handle was made."""
    both_ways = threading.Barrier(16)

    def work() -> str | None:
        with handle as app:
            both_ways.wait(10)
            call()
            assert justitia.current_application() is app
        return app_id()

    with justitia.application("triage") as app, app.stage("map"):
        handle = app.handle()
    with ThreadPoolExecutor(16) as pool:
        after = [each.result() for each in [pool.submit(work) for _ in range(16)]]
    assert after == [None] * 16
    assert server.apps == {app.app_id}
    assert server.stages == [("map", 0)] * 16
    assert len({hints.call.call for hints in server.hints}) == 16


def test_handle_made_outside_the_scope_has_no_stage() -> None:
    """An application handed on speaks for itself, whatever is open."""
    with justitia.application("first") as first:
        pass
    with justitia.application("second") as second, second.stage("map"), first.handle() as app:
        assert app is first
        assert justitia.current_stage() is None


def test_handle_made_inside_a_part_opens_what_it_was_made_of() -> None:
    """The whole's handle opens the whole, at the stage that was open."""
    with justitia.application("outer") as outer:
        with justitia.application("inner") as inner:
            whole, part = outer.handle(), inner.handle()
        with whole as app:
            assert app is outer
            assert justitia.current_stage() == "inner"
        with part as app:
            assert app is inner


def test_nested_handles_restore_what_was_open() -> None:
    """Each ``with`` puts back the application that was open before, the same handle twice too."""
    with justitia.application("first") as first:
        one = first.handle()
    with justitia.application("second") as second:
        two = second.handle()
    seen = []
    with one, two:
        seen.append(app_id())
        with one, one:
            seen.append(app_id())
        seen.append(app_id())
    assert seen == [second.app_id, first.app_id, second.app_id]
    assert app_id() is None


async def test_many_tasks_use_one_handle_at_once() -> None:
    """Tasks keep apart, though they enter and leave in any order."""

    async def work(number: int) -> str | None:
        async with handle:
            await asyncio.sleep(0.001 * (number % 5))
            inside = app_id()
        return inside if app_id() is None else "leaked"

    with justitia.application("triage") as app:
        handle = app.handle()
    assert set(await asyncio.gather(*(work(number) for number in range(30)))) == {app.app_id}


def test_leaving_a_handle_does_not_end_the_application() -> None:
    """Its owner does."""
    with justitia.application("triage") as app:
        with app.handle():
            pass
        assert not app.is_finished


def test_handle_left_in_a_foreign_context_leaves_quietly() -> None:
    """A generator with an open handle may be closed anywhere."""

    def items(handle: justitia.Handle) -> Iterator[str | None]:
        with handle:
            yield app_id()

    with justitia.application("triage") as app:
        steps = items(app.handle())
    assert contextvars.copy_context().run(next, steps) == app.app_id
    steps.close()  # type: ignore[attr-defined]
    assert app_id() is None


async def test_async_handle_closed_by_another_task_leaves_quietly() -> None:
    """So may an asynchronous one, and the closing task keeps its own application."""

    async def items(handle: justitia.Handle) -> AsyncIterator[str | None]:
        async with handle:
            yield app_id()

    async def close() -> str | None:
        with closer.handle():
            await steps.aclose()  # type: ignore[attr-defined]
            return app_id()

    with justitia.application("closer") as closer:
        pass
    with justitia.application("triage") as app:
        steps = items(app.handle())
    assert await asyncio.create_task(anext(steps)) == app.app_id  # type: ignore[arg-type]
    assert await asyncio.create_task(close()) == closer.app_id


def test_pickled_handle_opens_the_same_application_here() -> None:
    """In the process that has it, it is that very object."""
    with justitia.application("triage") as app, app.stage("map"):
        handle = pickle.loads(pickle.dumps(app.handle()))
    with handle as opened:
        assert opened is app
        assert justitia.current_stage() == "map"


def test_pickled_handle_opens_an_equal_application_elsewhere() -> None:
    """Id, name, weight, plan, input, stage and numbers come along."""
    plan = justitia.Plan((justitia.Stage("map", 8), justitia.Stage("reduce")))
    with justitia.application("sum", plan=plan, weight=2, input="text") as app, app.stage("extra"):
        handle = elsewhere(app.handle())
    with handle as opened:
        assert opened is not app
        assert opened.facts == app.facts
        assert current_scope() is not None
        assert justitia.current_stage() == "extra"
        assert [opened.scope_of(name).stage_index for name in ("map", "extra", "new")] == [0, 2, 3]


def test_stages_keep_their_numbers_elsewhere() -> None:
    """Those of a plan and those of their first use alike, whichever comes first there."""
    with justitia.application("sum") as app:
        for name in ("first", "second"):
            app.stage(name).__enter__().__exit__(None, None, None)
        handle = elsewhere(app.handle())
    with handle as opened:
        assert [opened.scope_of(name).stage_index for name in ("second", "new", "first")] == [
            1,
            2,
            0,
        ]


def test_application_elsewhere_is_ended_by_its_owner_only(justitia_server: Any) -> None:
    """The process that took it up never tells the end."""
    with justitia.application("triage") as app:
        call()
        with elsewhere(app.handle()) as opened:
            call()
            opened.finish()
            assert not opened.is_finished
        assert justitia_server.finished() == []
    assert justitia_server.finished() == [app.app_id]


def test_part_is_a_part_elsewhere_too() -> None:
    """Its own name and plan are kept, and its root."""
    plan = justitia.Plan((justitia.Stage("act"),))
    with justitia.application("outer") as outer, justitia.application("inner", plan=plan) as inner:
        handle = elsewhere(inner.handle())
    with handle as opened:
        assert (opened.type, opened.plan) == ("inner", plan)
        assert opened.root is not opened
        assert opened.app_id == outer.app_id
        assert justitia.current_stage() == "inner"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_of_an_application_is_the_application(copied: Any) -> None:
    """Frameworks copy what their state holds: there is still one application."""
    with justitia.application("triage", input="text") as app:
        assert copied(app) is app
        assert copied({"state": app})["state"] is app
        with copied(app.handle()) as opened:
            assert opened is app


def test_finished_application_is_let_go() -> None:
    """Nothing of ours holds an application whose scope was left, not even in a cycle."""
    gc.disable()
    try:
        with justitia.application("triage") as app, app.stage("map"), app.handle():
            kept = weakref.ref(app)
        key = app.app_id
        del app
        assert kept() is None
        assert key not in live
    finally:
        gc.enable()


@needs_fork
def test_forked_child_is_inside_the_scope(justitia_server: Any) -> None:
    """Its calls are the application's; leaving the scope there ends nothing, here it does."""

    def work() -> bool:
        call()
        app.finish()
        return app_id() == app.app_id and not app.is_finished

    with justitia.application("triage") as app:
        assert in_child(work) == 0
        assert justitia_server.finished() == []
        call()
    assert justitia_server.apps == {app.app_id}
    assert justitia_server.finished() == [app.app_id]


@needs_fork
def test_forked_child_tells_of_its_tools(justitia_server: Any) -> None:
    """Notices of the child go out from the child."""

    def work() -> bool:
        with app.tool("search"):
            pass
        return len(justitia_server.told("events")) == 0  # flushed; the record is the parent's

    with justitia.application("triage") as app:
        call()
        assert in_child(work) == 0
    assert [told.body["event"] for told in justitia_server.told("events")] == [
        "tool_start",
        "tool_end",
    ]


@needs_fork
def test_application_opened_in_a_forked_child_is_ended_there(justitia_server: Any) -> None:
    """A child's own application is its own, and new."""

    def work() -> bool:
        with justitia.application("child") as own:
            call()
        justitia_server.told("finish")  # flushed
        return own.is_finished

    assert in_child(work) == 0
    assert len(justitia_server.finished()) == 1
