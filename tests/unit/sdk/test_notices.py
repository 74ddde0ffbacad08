"""The end of an application: told to a Justitia server, and to nobody else."""

import os
import socket
import subprocess
import sys
from typing import Any

import openai
import pytest

import justitia_sdk as justitia
from justitia_sdk.notices import Messenger, Notice, Server, messenger

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}


def call() -> None:
    justitia.OpenAI().chat.completions.create(**PROMPT)


def test_leaving_the_scope_tells_the_server(justitia_server: Any) -> None:
    """The server hears of the end, with the credential of the calls and an empty object."""
    with justitia.application("triage") as app:
        call()
        assert justitia_server.finished() == []
    assert justitia_server.finished() == [app.app_id]
    told = justitia_server.requests[-1]
    assert told.path == f"/v1/applications/{app.app_id}/finish"
    assert (told.headers["authorization"], told.body) == ("Bearer key", {})


def test_plain_server_hears_nothing(server: Any) -> None:
    """A server that is no Justitia server gets its calls and no more."""
    with justitia.application("triage"):
        call()
    assert server.finished() == []
    assert len(server.requests) == 1


def test_application_is_ended_though_none_of_its_calls_was_answered(justitia_server: Any) -> None:
    """That the address is a Justitia server was learned from another call's reply."""
    call()
    justitia_server.failures.append("hang")
    with justitia.application("triage") as app, pytest.raises(openai.APITimeoutError):
        justitia.OpenAI(timeout=0.1, max_retries=0).chat.completions.create(**PROMPT)
    assert justitia_server.finished() == [app.app_id]


def test_application_without_calls_tells_nobody(justitia_server: Any) -> None:
    """What no server has seen has no end to tell."""
    with justitia.application("triage"):
        pass
    assert justitia_server.finished() == []


def test_end_is_told_once(justitia_server: Any) -> None:
    """However often it is finished, and however many calls it made."""
    with justitia.application("triage") as app:
        call()
        call()
        app.finish()
        app.finish()
    assert justitia_server.finished() == [app.app_id]


def test_nested_application_ends_with_its_root(justitia_server: Any) -> None:
    """A call inside a part is heard for the whole."""
    with justitia.application("outer") as outer:
        with justitia.application("inner"):
            call()
        assert justitia_server.finished() == []
    assert justitia_server.finished() == [outer.app_id]


def test_reply_after_the_end_is_told_as_well(justitia_server: Any) -> None:
    """If the first reply comes after the end, the server still hears of it, once."""
    with justitia.application("triage") as app:
        app.finish()
        call()
        call()
    assert justitia_server.finished() == [app.app_id]


async def test_async_client_hears_the_server(justitia_server: Any) -> None:
    """The asynchronous client learns the reply header too, also from a stream."""
    async with justitia.application("triage") as app, justitia.AsyncOpenAI() as client:
        chunks = await client.chat.completions.create(**PROMPT, stream=True)
        assert len([chunk async for chunk in chunks]) == 2
    assert justitia_server.finished() == [app.app_id]


async def test_instrumented_clients_hear_the_server(justitia_server: Any) -> None:
    """So do the official clients, once instrumented."""
    justitia.instrument()
    with justitia.application("sync") as first:
        openai.OpenAI().chat.completions.create(**PROMPT)
    async with justitia.application("async") as second, openai.AsyncOpenAI() as client:
        await client.chat.completions.create(**PROMPT)
    assert justitia_server.finished() == [first.app_id, second.app_id]


@pytest.mark.parametrize("instrumented", [False, True])
def test_error_reply_is_heard(justitia_server: Any, instrumented: bool) -> None:
    """An application whose only call was refused still has an end."""
    if instrumented:
        justitia.instrument()
    client = openai.OpenAI() if instrumented else justitia.OpenAI()
    justitia_server.failures.append(400)
    with justitia.application("triage") as app, pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**PROMPT)
    assert justitia_server.finished() == [app.app_id]


def test_decorated_function_ends_with_each_call(justitia_server: Any) -> None:
    """Every run of a decorated function is told."""
    run = justitia.application("triage")(call)
    run()
    run()
    assert len(justitia_server.finished()) == 2


def test_leaving_does_not_wait() -> None:
    """An end is told in the background: nothing blocks on a server that does not answer."""
    patient = Messenger(timeout_s=60)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        patient.tell(
            Notice(Server(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"), "/applications/a/finish")
        )
        assert not patient.flush(0.0)
    assert patient.flush(5.0)


def test_failure_to_tell_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A server that has gone is warned of once."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        base_url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
    for _ in range(3):
        messenger.tell(Notice(Server(base_url), "/applications/a/finish"))
    assert messenger.flush(5.0)
    assert [r.levelname for r in caplog.records if r.name == "justitia.sdk"] == ["WARNING"]


def test_refusal_costs_one_warning(justitia_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An error status is a failure to tell."""
    justitia_server.finish_status = 500
    for _ in range(2):
        with justitia.application("triage"):
            call()
    assert len(justitia_server.finished()) == 2
    assert [r.levelname for r in caplog.records if r.name == "justitia.sdk"] == ["WARNING"]


def test_waiting_ends_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Notices beyond the bound are dropped with a warning, not kept for ever."""
    full = Messenger(max_waiting=0)
    full.tell(Notice(Server("http://127.0.0.1:9/v1"), "/applications/a/finish"))
    assert full.flush(0.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_ends_are_flushed_at_exit(justitia_server: Any) -> None:
    """A program that ends right after its application still tells."""
    program = """
import justitia_sdk
with justitia_sdk.application("triage"):
    justitia_sdk.OpenAI().chat.completions.create(
        model="toy", messages=[{"role": "user", "content": "hi"}]
    )
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)
    assert [request.path.split("/")[-1] for request in justitia_server.requests] == [
        "completions",
        "finish",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_leaves_the_end_to_its_parent(justitia_server: Any) -> None:
    """A child that leaves the inherited scope tells nothing, and has no queue of its parent."""
    with justitia.application("triage") as app:
        call()
        if (pid := os.fork()) == 0:
            app.finish()
            os._exit(0 if not app.is_finished and messenger._thread is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert justitia_server.finished() == [app.app_id]


def test_one_thread_serves_all(justitia_server: Any) -> None:
    """Many applications end on one thread."""
    threads = set()
    for _ in range(5):
        with justitia.application("triage"):
            call()
        threads.add(messenger._thread)
    assert len(justitia_server.finished()) == 5
    assert len(threads) == 1
