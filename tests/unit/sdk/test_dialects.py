"""The same hints in other servers' words, whichever client says them and however it was copied."""

import copy
import inspect
import io
import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest

import justitia_sdk as justitia
from justitia_sdk.dialects import merged
from justitia_sdk.errors import ConfigurationError

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}
DIALECTS = ("justitia", "vllm", "dynamo", "llm-d", "sglang", "openai")
TOKENS = 200

pytestmark = pytest.mark.usefixtures("_fast_retries")


def azure(kind: Any = openai.AzureOpenAI) -> Any:
    base_url = str(openai.OpenAI().base_url)
    return kind(api_version="1", base_url=base_url, api_key="key")


CLIENTS: dict[str, Callable[[], Any]] = {
    "OpenAI": openai.OpenAI,
    "AsyncOpenAI": openai.AsyncOpenAI,
    "AzureOpenAI": azure,
    "AsyncAzureOpenAI": lambda: azure(openai.AsyncAzureOpenAI),
}


@pytest.fixture
async def close() -> AsyncIterator[list[Any]]:
    """Return a list of clients that are closed after the test."""
    clients: list[Any] = []
    yield clients
    for client in clients:
        closing = client.close()
        if inspect.isawaitable(closing):
            await closing


async def ask(client: Any, **options: Any) -> Any:
    reply = client.chat.completions.create(**PROMPT, **options)
    return await reply if inspect.isawaitable(reply) else reply


def said(request: Any) -> dict[str, str]:
    """Return the headers of *request* that some dialect speaks in."""
    words = ("justitia", "session", "priority", "fairness", "smg", "client-request")
    return {
        name: value
        for name, value in request.headers.items()
        if any(word in name for word in words)
    }


def told(dialect: str, app: str, level: int) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the headers and the hints in the body that servers of *dialect* want to see."""
    down, up = {"x-vllm-priority": str(-level)}, {"x-override-priority": str(level)}
    fairness = {"x-llm-d-inference-fairness-id": app, "x-session-id": app}
    osl = {"osl": TOKENS}
    answers: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
        "vllm": ({"x-session-id": app, **(down if level else {})}, {}),
        "dynamo": (
            {"x-dynamo-session-id": app},
            {"agent_hints": {"priority": level, **osl} if level else osl},
        ),
        "llm-d": (fairness, {}),
        "sglang": ({"x-smg-routing-key": app, **(up if level else {})}, {}),
    }
    return answers[dialect]


@pytest.mark.parametrize("dialect", ["vllm", "dynamo", "llm-d", "sglang"])
@pytest.mark.parametrize(("weight", "level"), [(0.25, -2), (1, 0), (4, 2), (1e6, 20)])
def test_hints_in_other_words(server: Any, dialect: str, weight: float, level: int) -> None:
    """The application's id and its importance, with low or high first as that server has it."""
    plan = justitia.Plan((justitia.Stage("map", output_tokens=TOKENS),))
    with (
        justitia.OpenAI(dialect=dialect) as client,
        justitia.application("sum", weight=weight, plan=plan) as app,
        app.stage("map"),
    ):
        client.chat.completions.create(**PROMPT)
    (request,) = server.calls
    headers, body = told(dialect, app.app_id, level)
    assert said(request) == headers
    assert request.body.get("nvext", {}) == body
    assert {name: request.body[name] for name in PROMPT} == PROMPT


def test_openai_learns_which_call_it_is(server: Any) -> None:
    """One id for a call, the same over its retries, and nothing of the application."""
    server.failures.append(500)
    with justitia.OpenAI(dialect="openai") as client, justitia.application("sum") as app:
        client.chat.completions.create(**PROMPT)
        client.chat.completions.create(**PROMPT)
    ids = [request.headers["x-client-request-id"] for request in server.calls]
    assert ids[0] == ids[1] != ids[2]
    assert app.app_id not in str([request.headers for request in server.calls])


def test_justitia_is_the_default(server: Any) -> None:
    """One header, which other servers pass over."""
    with justitia.OpenAI() as client, justitia.application("sum", weight=4):
        client.chat.completions.create(**PROMPT)
    assert set(said(server.calls[0])) == {"justitia-hints"}
    assert server.calls[0].body == PROMPT


@pytest.mark.parametrize("dialect", DIALECTS)
def test_outside_a_scope_no_dialect_says_anything(server: Any, dialect: str) -> None:
    """Without an application the client is the official one."""
    with justitia.OpenAI(dialect=dialect) as client:
        client.chat.completions.create(**PROMPT)
    assert said(server.calls[0]) == {}
    assert server.calls[0].body == PROMPT


@pytest.mark.parametrize(
    ("dialect", "names"),
    [
        ("justitia", {"Justitia-Hints"}),
        ("vllm", {"X-Session-ID"}),
        ("dynamo", {"X-Dynamo-Session-ID"}),
    ],
)
def test_headers_by_hand_speak_a_dialect(dialect: str, names: set[str]) -> None:
    """Clients that Justitia does not wrap can be told as well."""
    with justitia.application("sum") as app:
        assert set(app.headers(dialect=dialect)) == names


def copies(client: Any) -> list[Any]:
    """Return *client* in all the ways in which users and frameworks derive one from it."""
    return [
        client,
        client.with_options(timeout=9),
        client.copy(),
        client.with_options(max_retries=0).copy(max_retries=1),
        copy.copy(client),
        client.with_raw_response,
    ]


async def expect_dialect(server: Any, client: Any) -> None:
    with justitia.application("sum", weight=4) as app:
        for each in copies(client):
            await ask(each)
    want = {"x-session-id": app.app_id, "x-vllm-priority": "-2"}
    assert [said(call) for call in server.calls] == [want] * len(copies(client))


@pytest.mark.parametrize("kind", [justitia.OpenAI, justitia.AsyncOpenAI])
async def test_our_clients_keep_their_dialect(server: Any, close: list[Any], kind: Any) -> None:
    """Every copy of a client speaks what the client speaks."""
    close.append(kind(dialect="vllm"))
    await expect_dialect(server, close[0])


@pytest.mark.parametrize("kind", CLIENTS)
async def test_wrapped_clients_keep_their_dialect(server: Any, close: list[Any], kind: str) -> None:
    """So does every copy of an official client that was wrapped, Azure's too."""
    close.append(CLIENTS[kind]())
    assert justitia.wrap(close[0], dialect="vllm") is close[0]
    await expect_dialect(server, close[0])


@pytest.mark.parametrize("kind", CLIENTS)
async def test_instrumented_clients_speak_the_dialect(
    server: Any, close: list[Any], kind: str
) -> None:
    """And every client of the process, with one line."""
    justitia.instrument(dialect="vllm")
    close.append(CLIENTS[kind]())
    await expect_dialect(server, close[0])


async def test_streaming_response_speaks_the_dialect(server: Any, close: list[Any]) -> None:
    """So do the clients' streaming responses."""
    client = justitia.wrap(openai.AsyncOpenAI(), dialect="vllm")
    close.append(client)
    async with justitia.application("sum") as app:
        create = client.with_streaming_response.chat.completions.create
        async with create(**PROMPT) as response:
            assert (await response.parse()).choices[0].message.content == "hello"
    assert said(server.calls[0]) == {"x-session-id": app.app_id}


@pytest.mark.parametrize("dialect", ["justitia", "dynamo"])
def test_responses_api_speaks_it_too(server: Any, dialect: str) -> None:
    """Hints go with every call that is work, streamed or not, not with chat completions only."""
    with justitia.OpenAI(dialect=dialect) as client, justitia.application("sum", weight=4):
        assert client.responses.create(model="toy", input="hi").output_text == "hello"
        events = list(client.responses.create(model="toy", input="hi", stream=True))
    assert "hello" in [getattr(event, "delta", None) for event in events]
    assert events[-1].type == "response.completed"
    assert [call.path for call in server.calls] == ["/v1/responses"] * 2
    assert all(said(call) for call in server.calls)
    assert ["nvext" in call.body for call in server.calls] == [dialect == "dynamo"] * 2


def test_wrapped_client_differs_from_the_rest(server: Any) -> None:
    """A client's own dialect wins over that of all."""
    justitia.instrument(dialect="sglang")
    with openai.OpenAI() as plain, openai.OpenAI() as other, justitia.application("sum"):
        justitia.wrap(other, dialect="vllm").chat.completions.create(**PROMPT)
        plain.chat.completions.create(**PROMPT)
    assert [set(said(call)) for call in server.calls] == [{"x-session-id"}, {"x-smg-routing-key"}]


def test_a_later_line_without_a_dialect_keeps_it(server: Any) -> None:
    """An integration that instruments or wraps again does not undo what the user chose."""
    justitia.instrument(dialect="vllm")
    justitia.instrument()
    plain, ours = openai.OpenAI(), justitia.OpenAI(dialect="sglang")
    with plain, ours, justitia.application("sum"):
        plain.chat.completions.create(**PROMPT)
        justitia.wrap(ours).chat.completions.create(**PROMPT)
    assert [set(said(call)) for call in server.calls] == [{"x-session-id"}, {"x-smg-routing-key"}]


def test_uninstrument_forgets_the_dialect(server: Any) -> None:
    """Instrumented anew, clients speak Justitia's own; a wrapped one keeps its dialect."""
    with openai.OpenAI() as plain, openai.OpenAI() as wrapped, justitia.application("sum"):
        justitia.instrument(dialect="vllm")
        justitia.wrap(wrapped, dialect="sglang")
        justitia.uninstrument()
        plain.chat.completions.create(**PROMPT)
        wrapped.chat.completions.create(**PROMPT)
        justitia.instrument()
        plain.chat.completions.create(**PROMPT)
    assert [set(said(call)) for call in server.calls] == [
        set(),
        {"x-smg-routing-key"},
        {"justitia-hints"},
    ]


@pytest.mark.parametrize("dialect", ["", "vLLM", "klingon", 3, ["vllm"]])
@pytest.mark.parametrize(
    "use",
    [
        lambda dialect: justitia.OpenAI(dialect=dialect),
        lambda dialect: justitia.AsyncOpenAI(dialect=dialect),
        lambda dialect: justitia.wrap(openai.OpenAI(), dialect=dialect),
        lambda dialect: justitia.instrument(dialect=dialect),
        lambda dialect: justitia.instrument(openai.OpenAI(), dialect=dialect),
    ],
)
def test_unknown_dialect_is_refused_at_once(server: Any, use: Any, dialect: Any) -> None:
    """The message names those that there are."""
    with pytest.raises(ConfigurationError, match="dynamo"):
        use(dialect)


def test_unknown_dialect_of_headers_is_refused() -> None:
    """A mistake in the code, not in the hints."""
    with justitia.application("sum") as app, pytest.raises(ConfigurationError, match="dialect"):
        app.headers(dialect="klingon")


def ask_dynamo(weight: float = 4, **options: Any) -> None:
    with justitia.OpenAI(dialect="dynamo") as client, justitia.application("sum", weight=weight):
        client.chat.completions.create(**PROMPT, **options)


def test_users_own_fields_are_merged_and_win(server: Any) -> None:
    """What the user says to Dynamo stays, field by field, and ours goes beside it."""
    own = {"nvext": {"greed": True, "agent_hints": {"priority": 9, "speculative_prefill": True}}}
    ask_dynamo(extra_body={**own, "top_k": 3})
    body = server.calls[0].body
    assert body["nvext"] == own["nvext"]
    assert body["top_k"] == 3
    ask_dynamo(extra_body={"nvext": {"greed": True}})
    assert server.calls[1].body["nvext"] == {"greed": True, "agent_hints": {"priority": 2}}
    assert own == {"nvext": {"greed": True, "agent_hints": own["nvext"]["agent_hints"]}}


def test_users_own_field_that_is_no_object_stands(server: Any) -> None:
    """Nothing is made of it."""
    ask_dynamo(extra_body={"nvext": None})
    assert server.calls[0].body["nvext"] is None


def test_other_fields_of_the_body_are_replaced_as_ever(server: Any) -> None:
    """`extra_body` goes over the body as the official client does it, objects not merged."""
    first, second = {"type": "json_object"}, {"other": 1}
    ask_dynamo(response_format=first, extra_body={"response_format": second})
    assert server.calls[0].body["response_format"] == second


def test_caller_keeps_the_body(server: Any) -> None:
    """The objects that were handed over are not changed."""
    extra: dict[str, Any] = {"nvext": {"greed": True}}
    ask_dynamo(extra_body=extra)
    assert extra == {"nvext": {"greed": True}}


def test_retries_say_it_once(server: Any) -> None:
    """Each attempt carries the same body."""
    server.failures.extend([500, 500])
    ask_dynamo()
    bodies = [call.body for call in server.calls]
    assert bodies == [{**PROMPT, "nvext": {"agent_hints": {"priority": 2}}}] * 3


def test_uploads_get_no_hints_in_their_form(server: Any) -> None:
    """A file's form has its own fields, of which a server knows all."""
    with justitia.OpenAI(dialect="dynamo") as client, justitia.application("sum", weight=4) as app:
        client.files.create(file=io.BytesIO(b"text"), purpose="assistants")
    (request,) = server.requests
    assert b"nvext" not in request.raw
    assert said(request) == {"x-dynamo-session-id": app.app_id}


def test_own_headers_win(server: Any) -> None:
    """A header that the caller gave is not replaced, the others are added."""
    mine = {"x-session-id": "mine"}
    with justitia.OpenAI(dialect="vllm") as client, justitia.application("sum", weight=4):
        client.chat.completions.create(**PROMPT, extra_headers=mine)
    assert said(server.calls[0]) == {**mine, "x-vllm-priority": "-2"}


def test_merging_changes_neither() -> None:
    """Objects within objects are merged; everything else is replaced."""
    one = {"a": {"x": 1, "y": {"z": 2}}, "b": [1]}
    other = {"a": {"x": 9, "y": {"w": 3}}, "b": [2]}
    assert merged(one, other) == {"a": {"x": 9, "y": {"z": 2, "w": 3}}, "b": [2]}
    assert one == {"a": {"x": 1, "y": {"z": 2}}, "b": [1]}
    assert other == {"a": {"x": 9, "y": {"w": 3}}, "b": [2]}


class Holder:
    """What frameworks do: keep a client in an object that is copied."""

    def __init__(self, client: Any) -> None:
        self.client = client


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # half a client
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("kind", CLIENTS)
def test_hinting_client_is_copied_as_the_official_one(server: Any, kind: str, way: Any) -> None:
    """What can be copied or pickled without hints can with them, and what cannot fails alike."""

    def works(client: Any) -> bool:
        try:
            way(Holder(client))
        except (TypeError, pickle.PicklingError):
            return False
        return True

    client = CLIENTS[kind]()
    before = works(client)
    assert works(justitia.wrap(client)) == before
