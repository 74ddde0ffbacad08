"""Receipts: what a Justitia server says of an application, read, waited for, or missing."""

import asyncio
import socket
import time
from typing import Any

import pytest

import justitia_sdk as justitia
from justitia_sdk.audience import justitia_servers
from justitia_sdk.errors import ServerError, ServerUnavailable
from justitia_sdk.notices import messenger, post

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}


def call() -> None:
    with justitia.OpenAI() as client:
        client.chat.completions.create(**PROMPT)


@pytest.fixture
def app(justitia_server: Any) -> justitia.Application:
    """Return an application that has made a call and ended."""
    with justitia.application("triage") as made:
        call()
    return made


def questions(server: Any) -> list[Any]:
    return [request for request in server.requests if request.method == "GET"]


def test_receipt_tells_what_the_server_knows(app: Any, justitia_server: Any) -> None:
    """Times are counted from the arrival, costs and calls are as the server has them."""
    assert app.report() == justitia.Receipt(
        app_id=app.app_id,
        type="triage",
        state="finished",
        jct_s=2.0,
        wait_s=0.5,
        run_s=1.25,
        predicted_cost=4000.0,
        cost=5000,
        fair_jct_s=3.0,
        is_provisional=False,
        lateness_s=-1.0,
        lateness_iterations=-7,
        bound_iterations=32.4,
        calls=3,
        retries=1,
        late_calls=0,
    )
    (question,) = questions(justitia_server)
    assert question.path == f"/v1/applications/{app.app_id}"
    assert question.headers["authorization"] == "Bearer key"


def test_receipt_prints_as_a_table(app: Any) -> None:
    """A line a fact, in words and units."""
    assert str(app.report()).splitlines() == [
        f"triage {app.app_id} (finished)",
        "  completed in  2.00 s",
        "    waiting     0.50 s",
        "    running     1.25 s",
        "  fair finish   3.00 s",
        "  lateness      1.00 s early",
        "  bound         32 iterations",
        "  cost          5,000 KV token-steps",
        "  predicted     4,000 KV token-steps",
        "  calls         3, 1 retries, 0 late",
    ]


def test_table_says_what_is_not_known_yet(app: Any, justitia_server: Any) -> None:
    """Of an application still under way, or served by an older server."""
    unknown = ("finished_at", "fair_finish_at", "lateness_s", "bound_iterations", "wait_s", "run_s")
    still = {"state": "running", "fair_finish_is_provisional": True}
    justitia_server.receipts.append({**dict.fromkeys(unknown), **still})
    receipt = app.report()
    assert (receipt.jct_s, receipt.fair_jct_s, receipt.is_provisional) == (None, None, True)
    lines = str(receipt).splitlines()
    assert lines[0] == f"triage {app.app_id} (running)"
    assert "  completed in  not known yet" in lines
    assert "  fair finish   not known yet (provisional)" in lines
    assert "  bound         not known" in lines


def test_late_application_is_called_late(app: Any, justitia_server: Any) -> None:
    """After the fair finish is late."""
    justitia_server.receipts.append({"lateness_s": 0.25})
    assert "  lateness      0.25 s late" in str(app.report()).splitlines()


def test_end_is_told_before_the_question(
    justitia_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has heard of the end when it is asked, so that it can say how it was."""

    def slowly(notice: Any, *, timeout_s: float) -> None:
        time.sleep(0.2)
        post(notice, timeout_s=timeout_s)

    monkeypatch.setattr("justitia_sdk.notices.post", slowly)
    with justitia.application("triage") as app:
        call()
    app.report()
    told = [request.path.rpartition("/")[2] for request in justitia_server.requests]
    assert told == ["completions", "finish", app.app_id]


def test_receipt_of_a_part_is_the_roots(justitia_server: Any) -> None:
    """The server knows the whole only."""
    with justitia.application("outer") as outer, justitia.application("inner") as inner:
        call()
    assert inner.report().app_id == outer.app_id


def test_provisional_receipt_is_waited_for(app: Any, justitia_server: Any) -> None:
    """With *wait_s* the server is asked until the fair finish is settled."""
    justitia_server.receipts.extend([{"fair_finish_is_provisional": True}] * 2 + [{}])
    assert not app.report(wait_s=30).is_provisional
    assert len(questions(justitia_server)) == 3


def test_provisional_receipt_is_given_when_time_is_up(app: Any, justitia_server: Any) -> None:
    """Not longer than *wait_s*; without it at once."""
    justitia_server.receipts.append({"fair_finish_is_provisional": True})
    assert app.report().is_provisional
    assert len(questions(justitia_server)) == 1
    started_at = time.monotonic()
    assert app.report(wait_s=0.3).is_provisional
    assert 0.3 <= time.monotonic() - started_at < 5
    assert len(questions(justitia_server)) > 2


async def test_areport_leaves_the_loop_free(app: Any, justitia_server: Any) -> None:
    """The same receipt, while other tasks go on."""
    justitia_server.receipts.extend([{"fair_finish_is_provisional": True}] * 3 + [{}])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    receipt = await app.areport(wait_s=30)
    ticking.cancel()
    assert receipt == await asyncio.to_thread(app.report)
    assert ticks >= 3


def test_plain_server_has_no_receipts(server: Any) -> None:
    """It is not even asked."""
    with justitia.application("triage") as app:
        call()
    with pytest.raises(ServerUnavailable, match="Justitia server") as caught:
        app.report()
    assert caught.value.app_id == app.app_id
    assert len(server.requests) == 1


def test_application_without_calls_has_no_receipt(justitia_server: Any) -> None:
    """Nobody knows it."""
    with justitia.application("triage") as app:
        pass
    with pytest.raises(ServerUnavailable):
        app.report()


async def test_areport_raises_the_same(server: Any) -> None:
    """The asynchronous form has the same errors."""
    async with justitia.application("triage") as app:
        pass
    with pytest.raises(ServerUnavailable):
        await app.areport()


@pytest.mark.parametrize(("status", "words"), [(404, "does not know"), (401, "401"), (500, "500")])
def test_refusal_is_told(app: Any, justitia_server: Any, status: int, words: str) -> None:
    """An application the server has forgotten is told apart from other refusals."""
    justitia_server.receipts.append(status)
    with pytest.raises(ServerError, match=words) as caught:
        app.report()
    assert (caught.value.status, caught.value.app_id) == (status, app.app_id)
    assert ("does not know" in str(caught.value)) == (status == 404)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b"null",
        b"\xff\xfe",
        b"{}",
        {"calls": None},
        {"calls": []},
        {"arrived_at": "yesterday"},
        {"attained_cost": "much"},
        {"predicted_cost": None},
        {"wait_s": {}},
    ],
)
def test_garbage_is_an_error_of_the_server(app: Any, justitia_server: Any, answer: Any) -> None:
    """Whatever it is that cannot be read, it is told as one error, and a table never fails."""
    justitia_server.receipts.append(answer)
    with pytest.raises(ServerError, match="cannot be read") as caught:
        app.report()
    assert caught.value.app_id == app.app_id


def test_server_that_has_gone_is_unavailable() -> None:
    """With its address, within the time given."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        base_url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
    with justitia.application("triage") as app:
        app.note_asked(base_url, None)
    justitia_servers.add(base_url)
    with pytest.raises(ServerUnavailable, match=base_url) as caught:
        app.report()
    assert isinstance(caught.value.__cause__, OSError)


def test_server_that_does_not_answer_costs_the_time_given() -> None:
    """*timeout_s* bounds the wait for one answer."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        base_url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with justitia.application("triage") as app:
            app.note_asked(base_url, None)
        justitia_servers.add(base_url)
        started_at = time.monotonic()
        with pytest.raises(ServerUnavailable):
            app.report(timeout_s=0.2)
        assert time.monotonic() - started_at < 5


def test_second_server_is_asked_where_the_first_has_gone(app: Any, justitia_server: Any) -> None:
    """An application whose calls went to several has its receipt from one that knows it."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        base_url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
    with justitia.application("triage") as other:
        other.note_asked(base_url, None)
        justitia_servers.add(base_url)
        call()
    assert other.report().app_id == other.app_id


def test_end_is_told_once_however_it_comes(justitia_server: Any) -> None:
    """Finished by hand, by leaving, and again after late calls: one end, each call served."""
    with justitia.application("triage") as app:
        call()
        app.finish()
        call()
    app.finish()
    with app.handle():
        call()
    app.finish()
    assert messenger.flush(5.0)
    assert justitia_server.finished() == [app.app_id]
    assert justitia_server.apps == {app.app_id}
    assert len(justitia_server.calls) == 3
