"""The time of tools and people, as a Justitia server hears of it."""

import asyncio
from typing import Any

import pytest

import justitia_sdk as justitia
from justitia_sdk.errors import ConfigurationError

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}


def call() -> None:
    with justitia.OpenAI() as client:
        client.chat.completions.create(**PROMPT)


def events(server: Any) -> list[dict[str, Any]]:
    return [told.body for told in server.told("events")]


def test_tool_is_told_from_start_to_end(justitia_server: Any) -> None:
    """Its name, and how long it is expected to take, then its end."""
    with justitia.application("agent") as app:
        call()
        with app.tool("search", expected_s=2.5):
            assert events(justitia_server) == [
                {"event": "tool_start", "name": "search", "expected_s": 2.5}
            ]
    first, second = justitia_server.told("events")
    assert second.body == {"event": "tool_end", "name": "search"}
    assert first.path == f"/v1/applications/{app.app_id}/events"
    assert first.headers["authorization"] == "Bearer key"


async def test_tool_opens_by_async_with(justitia_server: Any) -> None:
    """The asynchronous form tells the same."""
    async with justitia.application("agent") as app, justitia.AsyncOpenAI() as client:
        await client.chat.completions.create(**PROMPT)
        async with app.tool("ask a person"):
            await asyncio.sleep(0)
    told = await asyncio.to_thread(events, justitia_server)
    assert told == [
        {"event": "tool_start", "name": "ask a person"},
        {"event": "tool_end", "name": "ask a person"},
    ]


def test_events_come_in_order_and_before_the_end(justitia_server: Any) -> None:
    """Tools one after another, one within another, and last the end of the application."""
    with justitia.application("agent") as app:
        call()
        for name in ("a", "b"):
            with app.tool(name), app.tool(f"within {name}"):
                pass
    assert justitia_server.finished() == [app.app_id]
    assert [(told["event"], told["name"]) for told in events(justitia_server)] == [
        (event, name)
        for tool in ("a", "b")
        for event, name in [
            ("tool_start", tool),
            ("tool_start", f"within {tool}"),
            ("tool_end", f"within {tool}"),
            ("tool_end", tool),
        ]
    ]
    assert justitia_server.requests[-1].path.endswith("/finish")


def test_tool_that_fails_has_ended(justitia_server: Any) -> None:
    """Its exception passes, and the server does not wait for it."""
    with justitia.application("agent") as app:
        call()
        with pytest.raises(KeyError), app.tool("search"):
            raise KeyError
    assert [told["event"] for told in events(justitia_server)] == ["tool_start", "tool_end"]


async def test_cancelled_tool_has_ended(justitia_server: Any) -> None:
    """A tool that is given up leaves nothing open."""

    async def search() -> None:
        async with app.tool("search"):
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    async with justitia.application("agent") as app:
        await asyncio.to_thread(call)
        task = asyncio.create_task(search())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    told = await asyncio.to_thread(events, justitia_server)
    assert [each["event"] for each in told] == ["tool_start", "tool_end"]


def test_tool_of_a_part_is_the_roots(justitia_server: Any) -> None:
    """The server knows the root only."""
    with justitia.application("outer") as outer, justitia.application("inner") as inner:
        call()
        with inner.tool("search"):
            pass
    (start, _) = justitia_server.told("events")
    assert start.path.split("/")[-2] == outer.app_id


def test_tool_before_any_server_is_known_is_told_to_nobody(justitia_server: Any) -> None:
    """What cannot be told is not kept for later."""
    with justitia.application("agent") as app, app.tool("search"):
        pass
    assert events(justitia_server) == []


def test_tool_that_outlives_its_application_tells_nothing_more(
    justitia_server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A server refuses news of what has ended, so it is spared them, and the user the warning."""
    with justitia.application("agent") as app:
        call()
        tool = app.tool("search")
        tool.__enter__()
    tool.__exit__(None, None, None)
    with app.tool("another"):
        pass
    assert [told["event"] for told in events(justitia_server)] == ["tool_start"]
    assert caplog.records == []


@pytest.mark.parametrize("name", ["", "a" * 129, "a\nb", 3, None])
def test_bad_tool_name_is_refused_at_once(name: object) -> None:
    """A tool has a short printable name."""
    with justitia.application("agent") as app, pytest.raises(ConfigurationError, match="tool name"):
        app.tool(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("expected_s", [0, -1.0, float("nan"), float("inf"), "soon", True])
def test_bad_expectation_is_refused_at_once(expected_s: object) -> None:
    """It is a finite number of seconds above nought."""
    with justitia.application("agent") as app, pytest.raises(ConfigurationError, match="expected"):
        app.tool("search", expected_s=expected_s)  # type: ignore[arg-type]
