"""Where the scope reaches, and where Python itself loses it."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import justitia_sdk as justitia


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
