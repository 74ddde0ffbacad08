"""`OpenAI` and `AsyncOpenAI`: the official clients' behaviour, with hints and one id per call."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import openai
import pytest

import justitia_sdk as justitia

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}

pytestmark = pytest.mark.usefixtures("_fast_retries")


class Sync:
    """The synchronous client behind the same awaitable face as the asynchronous one."""

    def __init__(self, **options: Any) -> None:
        self.client: Any = justitia.OpenAI(**options)

    async def close(self) -> None:
        self.client.close()

    async def create(self, **options: Any) -> Any:
        return self.client.chat.completions.create(**PROMPT, **options)

    async def text_of_stream(self) -> str:
        chunks = self.client.chat.completions.create(**PROMPT, stream=True)
        return "".join(chunk.choices[0].delta.content for chunk in chunks)

    async def raw(self) -> Any:
        return self.client.chat.completions.with_raw_response.create(**PROMPT)

    async def text_of_streaming_response(self) -> str:
        streaming = self.client.chat.completions.with_streaming_response
        with streaming.create(**PROMPT) as response:
            return str(response.parse().choices[0].message.content)


class Async(Sync):
    """The asynchronous client."""

    def __init__(self, **options: Any) -> None:
        self.client: Any = justitia.AsyncOpenAI(**options)

    async def close(self) -> None:
        await self.client.close()

    async def create(self, **options: Any) -> Any:
        return await self.client.chat.completions.create(**PROMPT, **options)

    async def text_of_stream(self) -> str:
        chunks = await self.client.chat.completions.create(**PROMPT, stream=True)
        return "".join([chunk.choices[0].delta.content async for chunk in chunks])

    async def raw(self) -> Any:
        return await self.client.chat.completions.with_raw_response.create(**PROMPT)

    async def text_of_streaming_response(self) -> str:
        streaming = self.client.chat.completions.with_streaming_response
        async with streaming.create(**PROMPT) as response:
            return str((await response.parse()).choices[0].message.content)


@pytest.fixture(params=[Sync, Async])
async def kind(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Return the maker of a client, which is closed after the test."""
    made: list[Any] = []

    def make(**options: Any) -> Any:
        made.append(request.param(**options))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def test_clients_are_official_clients() -> None:
    """Whoever asks for the official class gets ours."""
    assert issubclass(justitia.OpenAI, openai.OpenAI)
    assert issubclass(justitia.AsyncOpenAI, openai.AsyncOpenAI)


async def test_call_carries_the_hints(server: Any, kind: Any) -> None:
    """Inside a scope the server learns the application, the stage and the call."""
    with justitia.application("triage") as app, app.stage("map"):
        reply = await kind().create()
    assert reply.choices[0].message.content == "hello"
    (hints,) = server.hints
    assert (hints.application.app, hints.application.type) == (app.app_id, "triage")
    assert (hints.call.stage, hints.call.stage_index, hints.call.attempt) == ("map", 0, 0)
    assert hints.call.call


async def test_nothing_is_sent_outside_a_scope(server: Any, kind: Any) -> None:
    """Without an application the client is the official one, to the header."""
    await kind().create()
    assert not [name for name in server.calls[0].headers if "justitia" in name]


async def test_only_posts_carry_hints(server: Any) -> None:
    """Listing models is no work for the scheduler."""
    with justitia.application("triage"):
        justitia.OpenAI().models.list()
    assert server.requests[0].hints is None


async def test_late_call_still_carries_hints(server: Any, kind: Any) -> None:
    """A task that goes on after the application closed is still told apart."""
    with justitia.application("triage") as app:
        task = asyncio.create_task(kind().create())
    await task
    assert server.apps == {app.app_id}


async def test_caller_hints_are_left_alone(server: Any, kind: Any) -> None:
    """A header given by hand wins."""
    with justitia.application("triage"):
        await kind().create(extra_headers={"justitia-hints": '{"v":1,"app":"mine"}'})
    assert server.apps == {"mine"}


@pytest.mark.parametrize("failure", [408, 409, 429, 500, 503, "drop"])
async def test_retry_keeps_the_call_id(server: Any, kind: Any, failure: Any) -> None:
    """Attempts are numbered, and all are attempts of one call."""
    server.failures.extend([failure, failure])
    with justitia.application("triage"):
        await kind().create()
    assert [hints.call.attempt for hints in server.hints] == [0, 1, 2]
    assert len({hints.call.call for hints in server.hints}) == 1
    assert [call.headers["x-stainless-retry-count"] for call in server.calls] == ["0", "1", "2"]


async def test_calls_have_ids_of_their_own(server: Any, kind: Any) -> None:
    """Two calls are two calls, also of one client."""
    client = kind()
    with justitia.application("triage"):
        await client.create()
        await client.create()
    assert len({hints.call.call for hints in server.hints}) == 2


@pytest.mark.parametrize(
    ("failure", "num_calls"),
    [
        (400, 1),
        (404, 1),
        ((400, {"x-should-retry": "true"}), 2),
        ((500, {"x-should-retry": "false"}), 1),
    ],
)
async def test_retry_follows_the_official_rules(
    server: Any, kind: Any, failure: Any, num_calls: int
) -> None:
    """What the official client does not retry is not retried, and the server has the last word."""
    server.failures.append(failure)
    try:
        await kind().create()
    except openai.APIStatusError:
        assert num_calls == 1
    assert len(server.calls) == num_calls


async def test_errors_are_the_official_ones(server: Any, kind: Any) -> None:
    """When the retries are used up, the caller sees the official exception."""
    server.failures.extend([429] * 3)
    with pytest.raises(openai.RateLimitError, match="as told"):
        await kind().create()
    server.failures.extend(["drop"] * 3)
    with pytest.raises(openai.APIConnectionError):
        await kind().create()
    assert len(server.calls) == 6


async def test_timeouts_are_retried(server: Any, kind: Any) -> None:
    """A server that does not answer in time is asked again."""
    server.failures.extend(["hang", "hang"])
    client = kind(timeout=0.05, max_retries=1)
    build = client.client._build_request
    counted = patch.object(client.client, "_build_request", wraps=build)
    with counted as attempts, pytest.raises(openai.APITimeoutError):
        await client.create()
    assert attempts.call_count == 2


@pytest.mark.parametrize("max_retries", [0, 1, 4])
async def test_max_retries_means_what_it_says(server: Any, kind: Any, max_retries: int) -> None:
    """So many retries and no more: the official client's own are off."""
    server.failures.extend([500] * 9)
    with pytest.raises(openai.InternalServerError):
        await kind(max_retries=max_retries).create()
    assert len(server.calls) == max_retries + 1


async def test_with_options_keeps_hints_and_takes_retries(server: Any, kind: Any) -> None:
    """A copy with other options is still our client."""
    client = kind()
    client.client = client.client.with_options(max_retries=1)
    server.failures.extend([500] * 9)
    with justitia.application("triage"), pytest.raises(openai.InternalServerError):
        await client.create()
    assert [hints.call.attempt for hints in server.hints] == [0, 1]


async def test_retry_after_is_honoured(
    server: Any, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own delay is waited for, not ours."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    monkeypatch.setattr("asyncio.sleep", sleep)
    server.failures.append((429, {"Retry-After": "7"}))
    await kind().create()
    assert slept == [7.0]


async def test_streaming_works(server: Any, kind: Any) -> None:
    """A streamed call carries hints and gives the same chunks."""
    server.failures.append(500)
    with justitia.application("triage"):
        assert await kind().text_of_stream() == "hello"
    assert [hints.call.attempt for hints in server.hints] == [0, 1]


async def test_raw_response_works(server: Any, kind: Any) -> None:
    """The raw response is the official one, and tells how many retries it took."""
    server.failures.append(500)
    raw = await kind().raw()
    assert raw.status_code == 200
    assert raw.retries_taken == 1
    assert raw.parse().choices[0].message.content == "hello"


async def test_streaming_response_works(server: Any, kind: Any) -> None:
    """So is the streaming response."""
    server.failures.append(500)
    assert await kind().text_of_streaming_response() == "hello"
    assert len(server.calls) == 2


async def test_cancelled_call_is_not_retried(server: Any) -> None:
    """Cancellation passes straight through."""
    server.failures.append("hang")
    async with justitia.AsyncOpenAI() as client:
        call = asyncio.create_task(client.chat.completions.create(**PROMPT))
        await asyncio.to_thread(server.is_hanging.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(server.calls) == 1


async def test_uploads_keep_the_official_retries(server: Any) -> None:
    """A file can be read once only, so whether to send it again is left to the client."""
    server.failures.append(500)
    with justitia.application("triage"):
        justitia.OpenAI().files.create(file=io.BytesIO(b"text"), purpose="assistants")
    assert [request.hints.call.attempt for request in server.requests] == [0, 1]
    assert len({request.hints.call.call for request in server.requests}) == 1


@pytest.mark.usefixtures("_fast_retries")
@pytest.mark.parametrize(
    ("reason", "num_calls"),
    [("rejected-context-cancelled", 1), ("rejected-saturated", 3), (None, 3)],
)
def test_reasons_of_a_gateway_are_heeded(server: Any, reason: str | None, num_calls: int) -> None:
    """What was cancelled on purpose is not sent again; what found no room is."""
    headers = {} if reason is None else {"x-llm-d-request-dropped-reason": reason}
    server.failures.extend([(503, headers)] * 3)
    with pytest.raises(openai.InternalServerError):
        justitia.OpenAI(max_retries=2).chat.completions.create(**PROMPT)
    assert len(server.calls) == num_calls


def test_waits_grow_as_the_official_clients_do(server: Any) -> None:
    """Twice as long from one attempt to the next, less up to a quarter of jitter."""
    waits: list[float] = []
    server.failures.extend([500] * 4)
    client = justitia.OpenAI(max_retries=3)
    with patch("tenacity.nap.time.sleep", waits.append), pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**PROMPT)
    bounds = zip(waits, (0.001, 0.002, 0.004), strict=True)  # of a client in a hurry
    assert all(0.75 * most <= wait <= most for wait, most in bounds)
