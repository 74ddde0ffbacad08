"""Where the scope reaches, and where Python itself loses it."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import justitia_sdk as justitia

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}


def app_id() -> str | None:
    app = justitia.current_application()
    return None if app is None else app.app_id


async def test_tasks_and_threads_of_asyncio_inherit() -> None:
    """`gather`, `create_task` and `to_thread` carry the scope."""

    async def child() -> str | None:
        await asyncio.sleep(0)
        return app_id()

    async with justitia.application("triage") as app:
        ids = await asyncio.gather(child(), asyncio.create_task(child()), asyncio.to_thread(app_id))
    assert list(ids) == [app.app_id] * 3


def test_asyncio_run_inherits() -> None:
    """An event loop started inside the scope is inside it."""

    async def main() -> str | None:
        return app_id()

    with justitia.application("triage") as app:
        assert asyncio.run(main()) == app.app_id


def test_plain_thread_inherits_with_a_copied_context() -> None:
    """A bare thread starts outside, unless it is given the context."""
    with justitia.application("triage") as app, ThreadPoolExecutor(1) as pool:
        assert pool.submit(app_id).result() is None
        assert pool.submit(contextvars.copy_context().run, app_id).result() == app.app_id


async def test_executors_of_the_loop_start_outside() -> None:
    """`run_in_executor` drops the scope, with its own executor and with any; `copy_scope` cures."""
    loop = asyncio.get_running_loop()
    with justitia.application("triage") as app, ThreadPoolExecutor(1) as pool:
        for executor in (None, pool):
            assert await loop.run_in_executor(executor, app_id) is None
            scoped = justitia.copy_scope(app_id)
            assert await loop.run_in_executor(executor, scoped) == app.app_id


def test_bare_thread_starts_outside() -> None:
    """`Thread` drops the scope; `wrap_thread` cures."""
    seen: list[str | None] = []
    with justitia.application("triage") as app:
        for wrap in (lambda thread: thread, justitia.wrap_thread):
            thread = wrap(threading.Thread(target=lambda: seen.append(app_id())))
            thread.start()
            thread.join()
    assert seen == [None, app.app_id]


async def test_task_that_outlives_its_application_is_served_and_told_apart(
    justitia_server: Any,
) -> None:
    """Its late call carries the finished application's id; the end is told once, before it."""
    leave = asyncio.Event()

    async def late() -> None:
        await leave.wait()
        app = justitia.current_application()
        assert app is not None
        assert app.is_finished
        await client.chat.completions.create(**PROMPT)

    async with justitia.AsyncOpenAI() as client:
        async with justitia.application("triage") as app:
            await client.chat.completions.create(**PROMPT)
            task = asyncio.create_task(late())
        assert await asyncio.to_thread(justitia_server.finished) == [app.app_id]
        leave.set()
        await task
    assert await asyncio.to_thread(justitia_server.finished) == [app.app_id]
    assert [request.path.rpartition("/")[2] for request in justitia_server.requests] == [
        "completions",
        "finish",
        "completions",
    ]
    assert justitia_server.apps == {app.app_id}


async def test_scope_of_a_task_is_its_own() -> None:
    """What a task opens and leaves open is not seen by the task that started it."""

    async def child() -> str:
        return justitia.application("child").__enter__().app_id

    with justitia.application("triage") as app:
        assert await asyncio.create_task(child()) == app.app_id
        assert justitia.current_stage() is None
    assert await asyncio.create_task(child()) != app.app_id
    assert app_id() is None


def test_callback_sees_the_scope_it_was_set_in() -> None:
    """`call_soon`, `call_later` and done-callbacks of tasks carry it."""
    seen: list[str | None] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with justitia.application("triage"):
            loop.call_soon(lambda: seen.append(app_id()))
            loop.call_later(0.001, lambda: seen.append(app_id()))
            task = asyncio.create_task(asyncio.sleep(0))
            task.add_done_callback(lambda _task: seen.append(app_id()))
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert None not in seen
    assert len(set(seen)) == 1
    assert len(seen) == 3


def test_threads_do_not_share_a_scope() -> None:
    """Two threads have two applications."""
    seen: list[str | None] = []
    both_open = threading.Barrier(2)

    def run() -> None:
        with justitia.application("triage"):
            both_open.wait(5)
            seen.append(app_id())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in seen
    assert len(set(seen)) == 2


def test_stages_opened_by_many_threads_get_one_number_each() -> None:
    """Numbers are handed out one at a time."""
    with justitia.application("triage") as app, ThreadPoolExecutor(8) as pool:
        scopes = list(pool.map(app.scope_of, (f"stage {n % 50}" for n in range(500))))
    assert {scope.stage_index for scope in scopes} == set(range(50))
