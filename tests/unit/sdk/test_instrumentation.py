"""`instrument`: every official client sends hints, and `uninstrument` leaves no trace."""

import asyncio
from typing import Any

import openai
import pytest
from openai._base_client import AsyncAPIClient, BaseClient, SyncAPIClient

import justitia_sdk as justitia
from justitia_sdk.errors import UsageError

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}

pytestmark = pytest.mark.usefixtures("_fast_retries")


def hooks() -> list[object]:
    return [
        vars(BaseClient)["_build_request"],
        vars(BaseClient)["_make_status_error_from_response"],
        vars(SyncAPIClient)["_process_response"],
        vars(AsyncAPIClient)["_process_response"],
    ]


def azure(**options: Any) -> openai.AzureOpenAI:
    base_url = str(openai.OpenAI().base_url)
    return openai.AzureOpenAI(api_version="1", base_url=base_url, api_key="key", **options)


class Subclass(openai.OpenAI):
    """A client somebody derived."""


@pytest.mark.parametrize(
    "make",
    [
        openai.OpenAI,
        azure,
        Subclass,
        lambda: openai.OpenAI().with_options(timeout=9),
        lambda: openai.OpenAI(http_client=openai.DefaultHttpxClient()),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_every_client_sends_hints(server: Any, make: Any, when: str) -> None:
    """Whichever class it has, however it was made, and whether before or after."""
    client = make() if when == "before" else None
    justitia.instrument()
    client = client or make()
    with justitia.application("triage") as app:
        client.chat.completions.create(**PROMPT)
    assert server.apps == {app.app_id}


async def test_async_client_sends_hints(server: Any) -> None:
    """The asynchronous client is covered by the same line."""
    justitia.instrument()
    async with justitia.application("triage") as app, openai.AsyncOpenAI() as client:
        await asyncio.gather(*(client.chat.completions.create(**PROMPT) for _ in range(3)))
    assert server.apps == {app.app_id}
    assert len(server.hints) == 3


async def test_async_azure_client_sends_hints(server: Any) -> None:
    """So is Azure's, which replaces the client's own hook for options."""
    justitia.instrument()
    options = {"api_version": "1", "base_url": server.base_url, "api_key": "key"}
    async with justitia.application("triage") as app, openai.AsyncAzureOpenAI(**options) as client:
        await client.chat.completions.create(**PROMPT)
    assert server.apps == {app.app_id}


def test_official_retries_keep_the_call_id(server: Any) -> None:
    """The client's own retries are numbered, and are attempts of one call."""
    justitia.instrument()
    server.failures.extend([500, "drop"])
    with justitia.application("triage"):
        openai.OpenAI().chat.completions.create(**PROMPT)
    assert [hints.call.attempt for hints in server.hints] == [0, 1, 2]
    assert len({hints.call.call for hints in server.hints}) == 1


def test_nothing_is_sent_outside_a_scope(server: Any) -> None:
    """An instrumented client without an application is the official one, to the header."""
    justitia.instrument()
    openai.OpenAI().chat.completions.create(**PROMPT)
    assert not [name for name in server.calls[0].headers if "justitia" in name]


def test_streaming_works(server: Any) -> None:
    """Streams pass through."""
    justitia.instrument()
    with justitia.application("triage") as app:
        chunks = openai.OpenAI().chat.completions.create(**PROMPT, stream=True)
        assert "".join(chunk.choices[0].delta.content for chunk in chunks) == "hello"
    assert server.apps == {app.app_id}


def test_our_client_sends_one_header(server: Any) -> None:
    """Instrumenting changes nothing for a client that sends hints already."""
    justitia.instrument()
    server.failures.append(500)
    with justitia.application("triage"):
        justitia.OpenAI().chat.completions.create(**PROMPT)
    assert [hints.call.attempt for hints in server.hints] == [0, 1]


def test_instrument_twice_is_instrument_once() -> None:
    """A second line changes nothing."""
    justitia.instrument()
    once = hooks()
    justitia.instrument()
    assert hooks() == once


def test_uninstrument_restores_exactly(server: Any) -> None:
    """The client's methods are the very objects they were, and no hints are sent."""
    before = hooks()
    justitia.instrument()
    assert hooks() != before
    justitia.uninstrument()
    assert hooks() == before
    justitia.uninstrument()
    assert hooks() == before
    with justitia.application("triage"):
        openai.OpenAI().chat.completions.create(**PROMPT)
    assert server.hints == []


def test_uninstrument_spares_what_others_wrapped(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracer that wrapped our method keeps its wrapper, and ours falls silent."""
    original = hooks()[0]
    monkeypatch.setattr(BaseClient, "_build_request", original)  # as it will be left
    justitia.instrument()
    ours: Any = hooks()[0]

    def traced(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs)

    monkeypatch.setattr(BaseClient, "_build_request", traced)
    justitia.uninstrument()
    assert hooks()[0] is traced
    with justitia.application("triage"):
        openai.OpenAI().chat.completions.create(**PROMPT)
    assert server.hints == []


def test_one_client_alone_can_be_instrumented(server: Any) -> None:
    """Given a client, the others stay as they are; its copies send hints too."""
    client, other = openai.OpenAI(), openai.OpenAI()
    justitia.instrument(client)
    with justitia.application("triage"):
        other.chat.completions.create(**PROMPT)
        assert server.hints == []
        client.chat.completions.create(**PROMPT)
        client.with_options(max_retries=0).chat.completions.create(**PROMPT)
    assert len(server.hints) == 2
    assert type(client).__name__ == "OpenAI"
    assert isinstance(client, openai.OpenAI)


def test_instrumenting_one_client_twice_changes_nothing() -> None:
    """The class of a client is replaced once."""
    client = openai.OpenAI(api_key="key")
    justitia.instrument(client)
    once = type(client)
    justitia.instrument(client)
    assert type(client) is once


def test_instrumenting_something_else_is_refused() -> None:
    """Only official clients can be instrumented."""
    with pytest.raises(UsageError, match="client"):
        justitia.instrument("https://localhost/v1")


def test_unknown_openai_costs_a_warning_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A version of the client without the methods we need is left as it is."""
    before = hooks()
    with monkeypatch.context() as patch:
        patch.delattr(SyncAPIClient, "_process_response")
        justitia.instrument()
    assert hooks() == before
    assert [record.name for record in caplog.records] == ["justitia.sdk"]


def test_fault_in_hinting_costs_a_warning_only(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong, the calls go out, and one warning tells."""

    def broken(*_args: object, **_kwargs: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr("justitia_sdk.dialects.encode_hints", broken)
    justitia.instrument()
    with justitia.application("triage"):
        for _ in range(3):
            openai.OpenAI().chat.completions.create(**PROMPT)
    assert len(server.calls) == 3
    warnings = [record for record in caplog.records if record.name == "justitia.sdk"]
    assert [record.levelname for record in warnings if record.levelname == "WARNING"] == ["WARNING"]
