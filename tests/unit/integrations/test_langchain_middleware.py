"""LangChain agents: `JustitiaMiddleware`, with models and other middleware as they are."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ModelFallbackMiddleware,
    ModelRequest,
    ModelRetryMiddleware,
)
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import justitia_sdk as justitia
from justitia_integrations import langchain
from justitia_integrations.langchain import ChatJustitia, JustitiaMiddleware
from justitia_sdk.protocol import HINTS_HEADER

pytestmark = pytest.mark.usefixtures("_new_http_clients")

ASKED = {"messages": [{"role": "user", "content": "Is clause 7 valid?"}]}
USED = [("tool_start", "look"), ("tool_end", "look")]


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"{what} stands"


def agent(model: Any = None, *others: AgentMiddleware[Any, Any, Any], **options: Any) -> Any:
    """Return an agent with our middleware as the innermost."""
    middleware = [*others, JustitiaMiddleware(**options)]
    return create_agent(model or ChatOpenAI(model="toy"), tools=[look], middleware=middleware)


async def by_invoke(thing: Any) -> str:
    return str(thing.invoke(ASKED)["messages"][-1].text)


async def by_ainvoke(thing: Any) -> str:
    return str((await thing.ainvoke(ASKED))["messages"][-1].text)


async def by_stream(thing: Any) -> str:
    parts = thing.stream(ASKED, stream_mode="messages")
    return "".join(chunk.text for chunk, told in parts if chunk.type == "AIMessageChunk")


async def by_astream(thing: Any) -> str:
    parts = thing.astream(ASKED, stream_mode="messages")
    return "".join([chunk.text async for chunk, _ in parts if chunk.type == "AIMessageChunk"])


WAYS: list[Callable[[Any], Awaitable[str]]] = [by_invoke, by_ainvoke, by_stream, by_astream]
INVOKED = WAYS[:2]


def events(server: Any) -> list[tuple[str, str]]:
    told = [request.body for request in server.told("events")]
    return [(each["event"], each["name"]) for each in told if each["event"].startswith("tool")]


@pytest.mark.parametrize("way", WAYS)
async def test_unmodified_model_sends_hints(server: Any, way: Any) -> None:
    """Sync, async and streamed, with the node as the stage."""
    async with justitia.application("clerk") as app:
        assert await way(agent()) == "hello"
    assert server.apps == {app.app_id}
    assert server.stages == [("model", 0)]


@pytest.mark.parametrize("way", INVOKED)
async def test_tools_are_reported_once(
    justitia_server: Any, asking_for_tools: Any, way: Any
) -> None:
    """With the middleware alone, and with all there is."""
    for is_instrumented in (False, True):
        justitia_server.requests.clear()
        justitia_server.replies.append(asking_for_tools("look"))
        if is_instrumented:
            langchain.instrument()
        async with justitia.application("clerk"):
            await way(agent(ChatJustitia(model="toy") if is_instrumented else None))
        langchain.uninstrument()
        assert events(justitia_server) == USED
        assert len(justitia_server.hints) == 2
        assert len(justitia_server.finished()) == 1


@pytest.mark.parametrize("way", INVOKED)
async def test_next_turn_is_announced(server: Any, asking_for_tools: Any, way: Any) -> None:
    """The label is open while the model speaks, and what it says is heard all the same."""
    server.replies.append(asking_for_tools("look"))
    async with justitia.application("clerk") as app:
        await way(agent())
    assert app.plan is not None
    first, *_ = app.plan.stages
    assert (first.name, first.loop) == ("model", 2)


@pytest.mark.parametrize("kind", ["ours", "instrumented", "wrapped"])
def test_hints_are_sent_once(server: Any, kind: str) -> None:
    """A model that sends hints anyway sends them once."""
    model = ChatJustitia(model="toy") if kind == "ours" else ChatOpenAI(model="toy")
    if kind == "instrumented":
        langchain.instrument()
    if kind == "wrapped":
        justitia.wrap(model.root_client)
    with justitia.application("clerk") as app:
        agent(model).invoke(ASKED)
    langchain.uninstrument()
    (call,) = server.calls
    assert call.headers[HINTS_HEADER.lower()].count(app.app_id) == 1
    assert server.stages == [("model", 0)]


def test_nothing_is_sent_outside_an_application(server: Any) -> None:
    """Without a scope the agent is a plain one, to the header."""
    agent().invoke(ASKED)
    assert not [name for name in server.calls[0].headers if "justitia" in name]


def test_model_stays_as_it_is(server: Any) -> None:
    """The user's own model sends no hints before or after, and its clients are its own."""
    model = ChatOpenAI(model="toy")
    clients = (model.root_client, model.root_async_client, model.client, model.async_client)
    kinds = [type(client) for client in clients]
    with justitia.application("clerk"):
        agent(model).invoke(ASKED)
        model.invoke("hi")
    after = (model.root_client, model.root_async_client, model.client, model.async_client)
    assert all(one is other for one, other in zip(clients, after, strict=True))
    assert [type(client) for client in after] == kinds
    assert len(server.hints) == 1
    assert justitia.outside_calls() == {}


def test_copy_of_the_model_is_made_once(server: Any) -> None:
    """And is forgotten with the model."""
    middleware = JustitiaMiddleware()
    model = ChatOpenAI(model="toy")
    thing = create_agent(model, tools=[], middleware=[middleware])
    with justitia.application("clerk"):
        for _ in range(3):
            thing.invoke(ASKED)
        assert len(middleware._twins._values) == 1
    del thing, model
    gc.collect()
    assert len(middleware._twins._values) == 0


def test_headers_of_the_user_stay(server: Any) -> None:
    """Those in the model, in its settings and in those of other middleware."""

    class Other(AgentMiddleware[Any, Any, Any]):
        def wrap_model_call(self, request: ModelRequest[Any], handler: Any) -> Any:
            settings = {**request.model_settings, "extra_headers": {"x-other": "3"}, "seed": 7}
            return handler(request.override(model_settings=settings))

    model = ChatOpenAI(model="toy", default_headers={"x-client": "1"}, temperature=0.5)
    with justitia.application("clerk") as app:
        agent(model, Other()).invoke(ASKED)
    (call,) = server.calls
    assert (call.headers["x-client"], call.headers["x-other"]) == ("1", "3")
    assert (call.body["seed"], call.body["temperature"]) == (7, 0.5)
    assert server.apps == {app.app_id}


@pytest.fixture
def _cache() -> Iterator[None]:
    set_llm_cache(InMemoryCache())
    yield
    set_llm_cache(None)


@pytest.mark.usefixtures("_cache")
def test_cache_is_shared_with_plain_agents(server: Any) -> None:
    """Hints are no part of the key: what a plain agent has cached serves ours."""
    create_agent(ChatOpenAI(model="toy"), tools=[look]).invoke(ASKED)
    for _ in range(2):
        with justitia.application("clerk"):
            agent().invoke(ASKED)
    assert len(server.calls) == 1


@pytest.mark.usefixtures("_fast_retries")
@pytest.mark.parametrize("is_outside", [True, False])
@pytest.mark.parametrize("way", INVOKED)
async def test_each_attempt_carries_hints(server: Any, way: Any, is_outside: bool) -> None:
    """Wherever retries are made, around us or within."""
    server.failures.extend([500, 500])
    retry = ModelRetryMiddleware(max_retries=2, initial_delay=0.001, jitter=False)
    model = ChatOpenAI(model="toy", max_retries=0)
    around = [retry, JustitiaMiddleware()] if is_outside else [JustitiaMiddleware(), retry]
    async with justitia.application("clerk") as app:
        thing = create_agent(model, tools=[], middleware=around)
        assert await way(thing) == "hello"
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == 3
    assert {name for name, _ in server.stages} == {"model"}


def test_model_that_others_chose_sends_hints(server: Any) -> None:
    """Innermost, it sees the model that is really called."""
    server.failures.append(400)
    fallback = ModelFallbackMiddleware(ChatOpenAI(model="second"))
    with justitia.application("clerk") as app:
        agent(ChatOpenAI(model="first", max_retries=0), fallback).invoke(ASKED)
    assert [call.body["model"] for call in server.calls] == ["first", "second"]
    assert server.apps == {app.app_id}
    assert len(server.hints) == 2


class FakeModel(FakeListChatModel):
    def bind_tools(self, *_args: Any, **_kwargs: Any) -> Any:
        return self


def test_model_of_another_kind_is_left_alone() -> None:
    """One without a client of OpenAI's is called as it is."""
    thing = create_agent(
        FakeListChatModel(responses=["hello"]), [], middleware=[JustitiaMiddleware()]
    )
    with justitia.application("clerk"):
        assert thing.invoke(ASKED)["messages"][-1].text == "hello"


def test_model_that_cannot_be_copied_is_called(
    server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours costs a warning."""

    def wrong(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("ours")

    monkeypatch.setattr(justitia, "wrap", wrong)
    with justitia.application("clerk"):
        assert agent().invoke(ASKED)["messages"][-1].text == "hello"
    assert "model_without_hints" in caplog.text


def test_dialect(server: Any) -> None:
    """Hints in another server's words; a word that is none speaks up at once."""
    with justitia.application("clerk") as app:
        agent(None, dialect="vllm").invoke(ASKED)
    (call,) = server.calls
    assert call.headers["x-session-id"] == app.app_id
    assert HINTS_HEADER.lower() not in call.headers
    with pytest.raises(justitia.errors.ConfigurationError):
        JustitiaMiddleware(dialect="klingon")


async def test_cancelled_tool_has_ended(justitia_server: Any, asking_for_tools: Any) -> None:
    """However a tool ends, the server hears of it."""
    has_begun = asyncio.Event()

    @tool("look")
    async def slow(what: str) -> str:
        """Look for a long time."""
        has_begun.set()
        await asyncio.sleep(60)
        return what

    justitia_server.replies.append(asking_for_tools("look"))
    thing = create_agent(ChatOpenAI(model="toy"), [slow], middleware=[JustitiaMiddleware()])
    async with justitia.application("clerk"):
        task = asyncio.create_task(thing.ainvoke(ASKED))
        await asyncio.wait_for(has_begun.wait(), 10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events(justitia_server) == USED


def test_missing_agents_give_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in a package of their own."""
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware", None)
    monkeypatch.delitem(sys.modules, "justitia_integrations._langchain.middleware")
    with pytest.raises(ImportError, match=r"pip install langchain$"):
        langchain.JustitiaMiddleware  # noqa: B018
    with pytest.raises(AttributeError):
        langchain.nonsense  # noqa: B018
