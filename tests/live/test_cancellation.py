"""
Cancelled at every point: before a call is sent, in the queue, mid-stream, in a tool.

Afterwards the server's own state has to show it: nothing waits, nothing runs, every account has
settled.
"""

import asyncio
import contextlib
import threading
import time

import openai
import pytest
from langchain_core.messages import HumanMessage
from support.traffic import MODEL, Applications, forced, is_empty, prompt_of

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

pytestmark = pytest.mark.live

LONG = 3000  # output tokens: far more than a test has time for
HOLDING = 24  # calls of them that fill the memory, so that another waits


@pytest.fixture
def applications(server):
    """Return the server's endpoints; when the test is over nothing may be left there."""
    made = Applications(server.api_url)
    before = made.state()["num_finished"]
    yield made
    made.wait_for(is_empty)
    state = made.state()
    assert state["errors"] == {}
    assert state["num_finished"] > before


@pytest.fixture
def client(server):
    with justitia.OpenAI(base_url=server.api_url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(server):
    async with justitia.AsyncOpenAI(
        base_url=server.api_url, api_key="none", max_retries=0, timeout=60
    ) as made:
        yield made


def asked(tokens=LONG, **more):
    return {"model": MODEL, "messages": prompt_of(100), **forced(tokens), **more}


def calls_of(applications, app):
    """Return what is shown of its calls, and nothing of one that is not known."""
    return applications.get(f"/{app.app_id}").json().get("calls", {})


async def until(condition, *, seconds=30.0):
    """Wait, without holding up the event loop, until *condition* holds."""
    end_at = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end_at, "not within the time"
        await asyncio.sleep(0.02)


def num(applications, app, kind):
    return calls_of(applications, app).get(kind, 0)


async def settled(applications, app):
    """Wait until no call of *app* is left and it has ended; return it as shown."""
    await until(lambda: applications.show(app.app_id)["state"] == "finished")
    shown = applications.show(app.app_id)
    assert (shown["calls"]["waiting"], shown["calls"]["running"]) == (0, 0)
    return shown


async def cancel(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- asynchronous ------------------------------------------------------------------------


async def test_before_it_is_sent(async_client, applications):
    """The task never came to its first step: the server has heard of other calls only."""
    async with justitia.application("unsent") as app:
        await async_client.chat.completions.create(**asked(tokens=1))
        await cancel(asyncio.create_task(async_client.chat.completions.create(**asked())))
    shown = await settled(applications, app)
    assert (shown["calls"]["done"], shown["calls"]["aborted"]) == (1, 0)


async def test_while_it_runs(async_client, applications):
    """Cut off after some tokens, which are charged."""
    async with justitia.application("running") as app:
        task = asyncio.create_task(async_client.chat.completions.create(**asked()))
        await until(lambda: num(applications, app, "running") == 1)
        await cancel(task)
        await until(lambda: num(applications, app, "aborted") == 1)
    shown = await settled(applications, app)
    assert 0 < shown["output_tokens"] < LONG
    assert shown["attained_cost"] > 0


async def test_while_it_waits_in_the_queue(async_client, applications):
    """Two dozen calls hold the memory, some of them only as they wait; all are cancelled."""
    async with justitia.application("waiting") as app:
        tasks = [
            asyncio.create_task(async_client.chat.completions.create(**asked()))
            for _ in range(2 * HOLDING)
        ]
        await until(lambda: num(applications, app, "waiting") > 0)
        for task in tasks:
            await cancel(task)
        await until(lambda: num(applications, app, "aborted") >= HOLDING)
    shown = await settled(applications, app)
    assert shown["calls"]["done"] == 0


async def test_mid_stream(async_client, applications):
    """The reader's task is cancelled between two parts."""
    seen = asyncio.Event()

    async def read():
        async for _ in await async_client.chat.completions.create(**asked(stream=True)):
            seen.set()

    async with justitia.application("stream") as app:
        task = asyncio.create_task(read())
        await seen.wait()
        await cancel(task)
        await until(lambda: num(applications, app, "aborted") == 1)
    assert (await settled(applications, app))["output_tokens"] < LONG


async def test_by_a_time_limit(async_client, applications):
    """`asyncio.wait_for`, around a call and around a whole application."""
    with pytest.raises(TimeoutError):
        async with justitia.application("limit") as app:
            await asyncio.wait_for(async_client.chat.completions.create(**asked()), 0.7)
    assert (await settled(applications, app))["calls"]["done"] == 0

    @justitia.application("limited")
    async def run():
        apps.append(justitia.current_application())
        await async_client.chat.completions.create(**asked())

    apps = []
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run(), 0.7)
    assert (await settled(applications, apps[0]))["calls"]["done"] == 0


async def test_in_a_tool(async_client, applications):
    """The tool's end is told all the same, and the application ends."""
    at_tool = asyncio.Event()

    async def agent():
        async with justitia.application("agent") as app:
            apps.append(app)
            await async_client.chat.completions.create(**asked(tokens=1))
            async with app.tool("search", expected_s=3600):
                at_tool.set()
                await asyncio.sleep(3600)

    apps = []
    task = asyncio.create_task(agent())
    await at_tool.wait()
    await until(lambda: applications.show(apps[0].app_id)["at_tool_since"] is not None)
    await cancel(task)
    shown = await settled(applications, apps[0])
    assert shown["at_tool_since"] is None
    assert shown["end_reason"] == "finished"


async def test_in_langchain(server, applications):
    """`task.cancel` while `ainvoke` waits for the server."""
    llm = ChatJustitia(
        base_url=server.api_url, model=MODEL, api_key="none", max_retries=0,
        max_tokens=LONG, extra_body={"min_tokens": LONG, "ignore_eos": True},
    )  # fmt: skip
    async with justitia.application("chain") as app:
        task = asyncio.create_task(llm.ainvoke([HumanMessage("the people")]))
        await until(lambda: num(applications, app, "running") == 1)
        await cancel(task)
        await until(lambda: num(applications, app, "aborted") == 1)
    assert (await settled(applications, app))["calls"]["done"] == 0


async def test_a_task_group_that_fails(async_client, applications):
    """One of a fan-out fails; the others are cancelled with it."""

    async def fail():
        await until(lambda: num(applications, app, "running") == 3)
        raise ZeroDivisionError

    async def fan_out():
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(async_client.chat.completions.create(**asked()))
            group.create_task(fail())

    async with justitia.application("group") as app:
        with pytest.raises(ExceptionGroup):
            await fan_out()
        await until(lambda: num(applications, app, "aborted") == 3)
    await settled(applications, app)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_after_any_number_of_steps(async_client, applications, is_streamed):
    """Eighty calls, each cancelled one turn of the event loop, or a few milliseconds, later."""

    async def call():
        async with justitia.application("step"):
            reply = await async_client.chat.completions.create(**asked(stream=is_streamed))
            if is_streamed:
                async for _ in reply:
                    pass

    for point in range(80):
        task = asyncio.create_task(call())
        for _ in range(min(point, 40)):
            await asyncio.sleep(0)
        await asyncio.sleep(max(point - 40, 0) * 0.002)
        await cancel(task)
    with justitia.application("last") as app:  # so that something has ended, whoever was heard of
        await async_client.chat.completions.create(**asked(tokens=1))
    await settled(applications, app)


# -- synchronous -------------------------------------------------------------------------


async def test_a_stream_that_is_left(client, applications):
    """`break` in the middle of it, and closing it."""
    with (
        justitia.application("left") as app,
        client.chat.completions.create(**asked(stream=True)) as stream,
    ):
        for _ in stream:
            break
    shown = await settled(applications, app)
    assert shown["calls"]["aborted"] == 1
    assert shown["output_tokens"] < LONG


async def test_a_decorated_generator_that_is_closed(client, applications):
    """The application ends with it, though its consumer had not read to the end."""

    @justitia.application("generator")
    def words():
        apps.append(justitia.current_application())
        with client.chat.completions.create(**asked(stream=True)) as stream:
            yield from stream

    apps = []
    with contextlib.closing(words()) as answer:
        next(answer)
    assert (await settled(applications, apps[0]))["calls"]["aborted"] == 1


async def test_a_client_closed_while_a_thread_waits(server, applications):
    """The thread's call ends with an error of the client's own, and is aborted."""
    errors = []

    def call():
        with (
            handle,
            justitia.OpenAI(
                base_url=server.api_url, api_key="none", max_retries=0, timeout=1.0
            ) as client,
        ):
            try:
                client.chat.completions.create(**asked())
            except openai.APITimeoutError as exc:
                errors.append(exc)

    with justitia.application("thread") as app:
        handle = app.handle()
        thread = threading.Thread(target=call)
        thread.start()
        await until(lambda: not thread.is_alive())
        assert len(errors) == 1
    assert (await settled(applications, app))["calls"]["aborted"] == 1
