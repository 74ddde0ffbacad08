"""The doctor: calls outside any application are counted, told of once a place, or refused."""

import asyncio
import inspect
import logging
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import justitia_sdk as justitia
from justitia_sdk import doctor
from justitia_sdk.errors import NoActiveApplication, UsageError
from justitia_sdk.ids import new_ulid
from justitia_sdk.protocol import ApplicationHints

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}

pytestmark = pytest.mark.usefixtures("_fast_retries")


@pytest.fixture
def client(server: Any) -> Iterator[justitia.OpenAI]:
    with justitia.OpenAI() as made:
        yield made


@pytest.fixture
def _strict() -> None:
    justitia.configure(strict=True)


def call(client: Any, **options: Any) -> None:
    client.chat.completions.create(**PROMPT, **options)


CALL_SITE = f"{__file__}:{inspect.getsourcelines(call)[1] + 1}"


async def ask(client: Any, **options: Any) -> None:
    reply = client.chat.completions.create(**PROMPT, **options)
    if inspect.isawaitable(reply):
        await reply


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "justitia.sdk.doctor"]


def test_call_outside_is_counted_where_it_is_made(client: Any) -> None:
    """The place is the user's, not one of the libraries in between."""
    assert justitia.outside_calls() == {}
    call(client)
    call(client)
    assert justitia.outside_calls() == {CALL_SITE: 2}


def test_each_place_is_warned_of_once(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ten calls from one line are one warning; another line has its own."""
    for _ in range(10):
        call(client)
    for _ in range(10):
        client.chat.completions.create(**PROMPT)
    places = [record.site for record in warnings(caplog)]  # type: ignore[attr-defined]
    assert places[0] == CALL_SITE
    assert len(set(places)) == len(places) == 2
    assert {record.levelname for record in warnings(caplog)} == {"WARNING"}
    assert "with justitia.application(" in warnings(caplog)[0].getMessage()


async def test_async_call_is_placed_in_the_users_code(server: Any) -> None:
    """Also across awaits and tasks."""

    async def deep() -> None:
        await client.chat.completions.create(**PROMPT)

    async with justitia.AsyncOpenAI() as client:
        await asyncio.create_task(deep())
    assert justitia.outside_calls() == {f"{__file__}:{inspect.getsourcelines(deep)[1] + 1}": 1}


def test_calls_that_need_no_application_are_not_counted(client: Any) -> None:
    """Inside a scope, with hints by hand, or with nothing to schedule."""
    with justitia.application("triage") as app:
        call(client)
        headers = app.headers()
    call(client, extra_headers=headers)
    client.models.list()
    assert justitia.outside_calls() == {}


def test_plain_client_is_none_of_our_business(server: Any) -> None:
    """Only clients that hint are looked after, and no longer than they do."""
    with openai.OpenAI() as plain:
        call(plain)
        justitia.instrument()
        justitia.uninstrument()
        call(plain)
    assert justitia.outside_calls() == {}


def test_retries_are_one_call(client: Any, server: Any) -> None:
    """However often a call is tried, it was made once."""
    server.failures.extend([500, 500])
    call(client)
    assert justitia.outside_calls() == {CALL_SITE: 1}


@pytest.mark.parametrize("make", [justitia.OpenAI, lambda: justitia.wrap(openai.OpenAI())])
def test_call_is_counted_once_however_its_client_hints(server: Any, make: Any) -> None:
    """A wrapped client in an instrumented process is one client."""
    justitia.instrument()
    with make() as client:
        call(client)
    assert justitia.outside_calls() == {CALL_SITE: 1}


def library(client: Any) -> tuple[Callable[[], None], str]:
    """Return a function that calls, as it were of an installed package, and its place."""
    path = str(Path(sysconfig.get_path("purelib")) / "framework" / "chat.py")
    names: dict[str, Any] = {"__name__": "framework.chat", "client": client, "prompt": PROMPT}
    exec(compile("def run():\n    client.chat.completions.create(**prompt)\n", path, "exec"), names)
    return names["run"], f"{path}:2"


def test_frameworks_in_between_are_passed_over(client: Any) -> None:
    """A call that a library makes for the user is placed where the user called the library."""
    run, _ = library(client)
    run()
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    assert justitia.outside_calls() == {f"{__file__}:{line}": 1}


def test_program_among_the_libraries_is_told_apart(client: Any) -> None:
    """Where the program itself is installed, the place that calls the client is named."""
    run, place = library(client)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert justitia.outside_calls() == {place: 1}


def test_call_without_users_code_is_placed_by_its_thread(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Threads are not told apart by number, so a thousand of them are one warning."""
    for _ in range(3):
        thread = threading.Thread(target=client.chat.completions.create, kwargs=PROMPT)
        thread.start()
        thread.join()
    assert list(justitia.outside_calls().values()) == [3]
    assert next(iter(justitia.outside_calls())).startswith("thread Thread-N")
    assert len(warnings(caplog)) == 1


def test_places_are_bounded(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Code that is made anew each time fills neither the memory nor the log."""
    monkeypatch.setattr(doctor, "MAX_SITES", 3)
    for number in range(10):
        code = compile("client.chat.completions.create(**prompt)", f"<made {number}>", "exec")
        exec(code, {"client": client, "prompt": PROMPT})
    first = {f"<made {number}>:1": 1 for number in range(3)}
    assert justitia.outside_calls() == {**first, "elsewhere": 7}
    assert len(warnings(caplog)) == 4


def test_diagnosis_of_a_thread(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A thread that lost the scope is told which application is open, and the cure."""
    with justitia.application("triage"), ThreadPoolExecutor(1) as pool:
        pool.submit(call, client).result()
    message = warnings(caplog)[0].getMessage()
    assert "triage is open" in message
    for cure in ("wrap_thread", "wrap_executor", "copy_scope"):
        assert f"justitia.{cure}(" in message
        assert hasattr(justitia, cure)


def test_diagnosis_of_the_main_thread(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Elsewhere in the program, the application can be handed over."""
    opened, done = threading.Event(), threading.Event()

    def hold() -> None:
        with justitia.application("triage"):
            opened.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    opened.wait(10)
    call(client)
    done.set()
    thread.join()
    assert "triage is open elsewhere" in warnings(caplog)[0].getMessage()
    assert "app.handle()" in warnings(caplog)[0].getMessage()


def test_finished_application_is_no_diagnosis(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has ended is not where the call belongs."""
    with justitia.application("triage") as app:
        pass
    call(client)
    assert app.is_finished
    assert "triage" not in warnings(caplog)[0].getMessage()


def test_applications_opened_meanwhile_disturb_nothing(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor looks at what is open while other threads open and close applications."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            kept = [justitia.Application(ApplicationHints(new_ulid())) for _ in range(50)]
            del kept

    threads = [threading.Thread(target=churn) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(3000):
            doctor._diagnosis()
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()


def test_fault_of_the_doctor_costs_a_warning_only(
    client: Any, server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The call goes out, whatever fails in counting it."""

    def broken(*_args: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "_site", broken)
    call(client)
    call(client)
    assert len(server.calls) == 2
    assert [r.levelname for r in caplog.records if r.name == "justitia.sdk"] == ["WARNING"]


def azure(kind: Any) -> Any:
    base_url = str(openai.OpenAI().base_url)
    return kind(api_version="1", base_url=base_url, api_key="key")


CLIENTS: dict[str, Callable[[], Any]] = {
    "OpenAI": justitia.OpenAI,
    "AsyncOpenAI": justitia.AsyncOpenAI,
    "copy": lambda: justitia.OpenAI().with_options(max_retries=0),
    "wrapped": lambda: justitia.wrap(openai.OpenAI()),
    "wrapped async": lambda: justitia.wrap(openai.AsyncOpenAI()),
    "wrapped Azure": lambda: justitia.wrap(azure(openai.AzureOpenAI)),
    "wrapped async Azure": lambda: justitia.wrap(azure(openai.AsyncAzureOpenAI)),
    "instrumented": openai.OpenAI,
    "instrumented async": openai.AsyncOpenAI,
    "another dialect": lambda: justitia.OpenAI(dialect="vllm"),
}


@pytest.mark.usefixtures("_strict")
@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("streams", [False, True])
async def test_strict_refuses_before_anything_is_sent(
    server: Any, kind: str, streams: bool
) -> None:
    """Every client, sync or async, raises the same, and the server hears nothing."""
    if kind.startswith("instrumented"):
        justitia.instrument()
    client = CLIENTS[kind]()
    with pytest.raises(NoActiveApplication, match="belongs to no application") as caught:
        await ask(client, stream=streams)
    assert isinstance(caught.value, UsageError)
    assert __file__ in str(caught.value)
    assert server.requests == []
    closing = client.close()
    if inspect.isawaitable(closing):
        await closing


@pytest.mark.usefixtures("_strict")
def test_strict_lets_calls_inside_through(client: Any, server: Any) -> None:
    """Inside a scope nothing changes; refused calls are counted all the same."""
    with pytest.raises(NoActiveApplication):
        call(client)
    with justitia.application("triage"):
        call(client)
    assert len(server.calls) == 1
    assert justitia.outside_calls() == {CALL_SITE: 1}
    justitia.configure(strict=False)
    call(client)
    assert len(server.calls) == 2


@pytest.mark.parametrize(
    ("value", "is_strict"),
    [("1", True), ("", False), ("False", False)],
)
def test_environment_makes_it_strict(server: Any, value: str, is_strict: bool) -> None:
    """``JUSTITIA_STRICT=1`` does it without a change of code, in tests for instance."""
    program = f"""
import justitia_sdk
try:
    justitia_sdk.OpenAI().chat.completions.create(**{PROMPT!r})
except justitia_sdk.errors.NoActiveApplication:
    print("refused")
"""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JUSTITIA_STRICT": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout.strip() == "refused") == is_strict
    assert len(server.calls) == (0 if is_strict else 1)
