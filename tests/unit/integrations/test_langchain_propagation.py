"""LangChain: where the scope reaches, row by row, and where Python loses it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.runnables.config import run_in_executor
from langchain_core.tools import tool

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

pytestmark = pytest.mark.usefixtures("_new_http_clients")


def ask(text: str = "hi") -> str:
    return str(ChatJustitia(model="toy").invoke(text).text)


async def aask(text: str = "hi") -> str:
    return str((await ChatJustitia(model="toy").ainvoke(text)).text)


def chat() -> ChatJustitia:
    return ChatJustitia(model="toy")


def both() -> Any:
    return RunnableParallel(a=chat(), b=RunnableLambda(ask))


@tool
def look(what: str) -> str:
    """Look something up."""
    return ask(what)


def agent() -> Any:
    return create_agent(chat(), tools=[look])


ASKED = {"messages": [{"role": "user", "content": "hi"}]}


async def _read(items: Any) -> None:
    async for _ in items:
        pass


async def _create_task() -> None:
    await asyncio.create_task(aask())


async def _in_loop_of_its_own() -> None:
    """`asyncio.run` in a thread that was given the context."""
    await asyncio.to_thread(asyncio.run, aask())


SYNC: dict[str, tuple[Callable[[], Any], int]] = {
    "invoke": (lambda: chat().invoke("hi"), 1),
    "batch": (lambda: chat().batch(["a", "b", "c"]), 3),
    "batch_as_completed": (lambda: list(chat().batch_as_completed(["a", "b", "c"])), 3),
    "stream": (lambda: list(chat().stream("hi")), 1),
    "parallel": (lambda: both().invoke("hi"), 2),
    "asyncio.run": (lambda: asyncio.run(aask()), 1),
}
ASYNC: dict[str, tuple[Callable[[], Any], int]] = {
    "ainvoke": (lambda: chat().ainvoke("hi"), 1),
    "abatch": (lambda: chat().abatch(["a", "b", "c"]), 3),
    "abatch_as_completed": (lambda: _read(chat().abatch_as_completed(["a", "b"])), 2),
    "astream": (lambda: _read(chat().astream("hi")), 1),
    "astream_events": (lambda: _read(both().astream_events("hi", version="v2")), 2),
    "parallel": (lambda: both().ainvoke("hi"), 2),
    "sync lambda": (lambda: RunnableLambda(ask).ainvoke("hi"), 1),
    "create_task": (_create_task, 1),
    "to_thread": (lambda: asyncio.to_thread(ask), 1),
    "asyncio.run": (_in_loop_of_its_own, 1),
    "run_in_executor": (lambda: run_in_executor(None, ask, "hi"), 1),
}


@pytest.mark.parametrize("path", SYNC)
def test_scope_reaches_the_call(server: Any, path: str) -> None:
    """Every synchronous path of LangChain's keeps the scope."""
    run, num_calls = SYNC[path]
    with justitia.application("outer") as app:
        run()
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == num_calls


@pytest.mark.parametrize("path", ASYNC)
async def test_scope_reaches_the_asynchronous_call(server: Any, path: str) -> None:
    """So does every asynchronous one."""
    run, num_calls = ASYNC[path]
    async with justitia.application("outer") as app:
        await run()
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == num_calls


@pytest.mark.parametrize("is_async", [False, True])
async def test_scope_reaches_parallel_tools(
    server: Any, asking_for_tools: Any, is_async: bool
) -> None:
    """Three tools at once, each of which asks the model."""
    server.replies.append(asking_for_tools("look", "look", "look"))
    with justitia.application("outer") as app:
        await agent().ainvoke(ASKED) if is_async else agent().invoke(ASKED)
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == 5


async def _loop_executor(pool: Any, work: Callable[[], str]) -> str:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


async def _langchain_executor(pool: Any, work: Callable[[], str]) -> str:
    return await run_in_executor(pool, work)


async def _plain_pool(pool: Any, work: Callable[[], str]) -> str:
    return await asyncio.wrap_future(pool.submit(work))


@pytest.mark.parametrize("submit", [_loop_executor, _langchain_executor, _plain_pool])
async def test_executor_of_ones_own_loses_the_scope_unless_wrapped(
    server: Any, submit: Any
) -> None:
    """Nobody copies the context there; with `wrap_executor` or `copy_scope` it is kept."""
    async with justitia.application("outer") as app:
        with ThreadPoolExecutor(1) as pool:
            await submit(pool, ask)
            assert (len(server.calls), server.hints) == (1, [])
            assert sum(justitia.outside_calls().values()) == 1  # the doctor has seen it
            await submit(justitia.wrap_executor(pool), ask)
            await submit(pool, justitia.copy_scope(ask))
    assert server.apps == {app.app_id}
    assert len(server.hints) == 2


def test_bare_thread_loses_the_scope_unless_wrapped(server: Any) -> None:
    """`wrap_thread` keeps it, and so does a copied context."""
    with justitia.application("outer") as app:
        threads = [
            threading.Thread(target=ask),
            justitia.wrap_thread(threading.Thread(target=ask)),
            threading.Thread(target=copy_context().run, args=(ask,)),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert server.apps == {app.app_id}
    assert len(server.hints) == 2


class OpensInCallback(BaseCallbackHandler):
    """Opens a scope where one should not."""

    def __init__(self) -> None:
        self.scope = justitia.application("in a callback")

    def on_chain_start(self, *_args: Any, **_kwargs: Any) -> None:
        self.scope.__enter__()


class OpensInAsyncCallback(AsyncCallbackHandler):
    """The same, asynchronously."""

    async def on_chain_start(self, *_args: Any, **_kwargs: Any) -> None:
        justitia.application("in a callback").__enter__()


def test_scope_opened_in_a_callback_leaks(server: Any) -> None:
    """Why scopes are opened around runs: the callback's would stay open for the caller."""
    handler = OpensInCallback()

    def run() -> str | None:
        (RunnableLambda(str) | chat()).invoke("hi", {"callbacks": [handler]})
        app = justitia.current_application()
        return None if app is None else app.type

    assert copy_context().run(run) == "in a callback"
    assert len(server.hints) == 1


async def test_scope_opened_in_an_asynchronous_callback_is_lost(server: Any) -> None:
    """And an asynchronous one's never reaches the call."""
    for handler in (OpensInAsyncCallback(), OpensInCallback()):
        await (RunnableLambda(str) | chat()).ainvoke("hi", {"callbacks": [handler]})
    assert len(server.calls) == 2
    assert server.hints == []


async def test_task_that_outlives_its_application_is_late(justitia_server: Any) -> None:
    """Its calls still say where they belong."""
    is_over = asyncio.Event()

    async def later() -> str:
        await is_over.wait()
        return await aask()

    async with justitia.application("outer") as app:
        await aask()
        task = asyncio.create_task(later())
    assert justitia_server.finished() == [app.app_id]
    is_over.set()
    await task
    assert justitia_server.apps == {app.app_id}
    assert len(justitia_server.hints) == 2
