"""LangChain: `ChatJustitia`, and an unmodified `ChatOpenAI` under `instrument`."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import openai
import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia

pytestmark = pytest.mark.usefixtures("_fast_retries", "_new_http_clients")


def chat(**options: Any) -> ChatJustitia:
    return ChatJustitia(model="toy", **options)


def tool_calls(*names: str) -> dict[str, Any]:
    """Return the reply of a model that calls tools."""
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": '{"what":"x"}'}}
        for n, name in enumerate(names)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


async def by_invoke(model: Any) -> str:
    return str(model.invoke("hi").text)


async def by_ainvoke(model: Any) -> str:
    return str((await model.ainvoke("hi")).text)


async def by_stream(model: Any) -> str:
    return "".join(chunk.text for chunk in model.stream("hi"))


async def by_astream(model: Any) -> str:
    return "".join([chunk.text async for chunk in model.astream("hi")])


WAYS = [by_invoke, by_ainvoke, by_stream, by_astream]


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_call_carries_hints(server: Any, way: Any) -> None:
    """Invoked or streamed, sync or async, the server learns application and stage."""
    with justitia.application("triage") as app, app.stage("map"):
        assert await way(chat()) == "hello"
    assert server.apps == {app.app_id}
    assert server.stages == [("map", 0)]


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_sent_outside_a_scope(server: Any, way: Any) -> None:
    """Without an application the model is `ChatOpenAI`, to the header."""
    await way(chat())
    assert not [name for name in server.calls[0].headers if "justitia" in name]


@pytest.mark.parametrize("way", WAYS)
async def test_end_is_told_to_a_justitia_server(justitia_server: Any, way: Any) -> None:
    """The model hears the reply header, so the server is told when the scope is left."""
    with justitia.application("triage") as app:
        await way(chat())
    assert justitia_server.finished() == [app.app_id]


def test_end_is_not_told_to_a_plain_server(server: Any) -> None:
    """Any other server gets its call and no more."""
    with justitia.application("triage"):
        chat().invoke("hi")
    assert server.finished() == []


def test_batch_and_parallel_are_one_application(server: Any) -> None:
    """LangChain's own threads carry the scope; every call has an id of its own."""
    branches = RunnableParallel(a=chat(), b=chat())
    with justitia.application("triage") as app:
        chat().batch(["a", "b", "c"])
        branches.invoke("hi")
    assert server.apps == {app.app_id}
    assert len({hints.call.call for hints in server.hints}) == 5


async def test_async_batch_and_parallel_are_one_application(server: Any) -> None:
    """So do its tasks."""
    branches = RunnableParallel(a=chat(), b=RunnableLambda(lambda text: chat().invoke(text)))
    async with justitia.application("triage") as app:
        await asyncio.gather(chat().abatch(["a", "b", "c"]), branches.ainvoke("hi"))
    assert server.apps == {app.app_id}
    assert len(server.hints) == 5


@tool
def look(what: str) -> str:
    """Look something up."""
    return str(chat().invoke(what).content)


async def test_agent_with_parallel_tools_is_one_application(server: Any) -> None:
    """The agent's turns and the calls its tools make belong together, sync and async."""
    for run in ("sync", "async"):
        server.requests.clear()
        server.replies.append(tool_calls("look", "look", "look"))
        agent: Any = create_agent(chat(), tools=[look])
        question = {"messages": [{"role": "user", "content": "hi"}]}
        with justitia.application("agent") as app:
            if run == "sync":
                agent.invoke(question)
            else:
                await agent.ainvoke(question)
        assert server.apps == {app.app_id}
        assert server.stages == [("model", 0), *[("tools", 1)] * 3, ("model", 0)]


class State(TypedDict):
    words: Annotated[list[str], lambda left, right: left + right]


@pytest.mark.parametrize("way", WAYS)
async def test_langgraph_node_is_the_stage(server: Any, way: Any) -> None:
    """The node labels its calls, streams too; a stage opened by hand wins."""

    async def draft(_state: State) -> State:
        return {"words": [await way(chat())]}

    async def check(_state: State) -> State:
        app = justitia.current_application()
        assert app is not None
        with app.stage("by hand"):
            return {"words": [await way(chat())]}

    graph: Any = StateGraph(State)
    graph.add_node("draft", draft)
    graph.add_node("check", check)
    graph.add_edge(START, "draft")
    graph.add_edge("draft", "check")
    graph.add_edge("check", END)
    async with justitia.application("graph"):
        await graph.compile().ainvoke({"words": []})
    assert server.stages == [("draft", 0), ("by hand", 1)]


def test_cache_is_shared_by_applications(server: Any, cache: InMemoryCache) -> None:
    """The second application with the same prompt is served from LangChain's cache."""
    for _ in range(2):
        with justitia.application("triage"):
            chat().invoke("hi")
    assert len(server.calls) == 1


def test_cache_is_shared_with_chat_openai(server: Any, cache: InMemoryCache) -> None:
    """Moving to `ChatJustitia` invalidates no cache: the keys are those of `ChatOpenAI`."""
    ChatOpenAI(model="toy").invoke("hi")
    with justitia.application("triage"):
        chat().invoke("hi")
    assert len(server.calls) == 1


def test_model_is_stored_as_chat_openai(server: Any) -> None:
    """A saved chain loads where Justitia is not installed."""
    assert dumps(chat()) == dumps(ChatOpenAI(model="toy"))


def test_dialect_is_spoken_and_not_stored(server: Any, cache: InMemoryCache) -> None:
    """Another server's words instead of ours; neither cache keys nor saved chains know of it."""
    assert dumps(chat(dialect="vllm")) == dumps(chat()) == dumps(ChatOpenAI(model="toy"))
    with justitia.application("triage", weight=2.0) as app:
        chat(dialect="vllm").invoke("hi")
        chat().invoke("hi")
    (call,) = server.calls  # the second is served from the cache
    assert (call.headers["x-session-id"], call.headers["x-vllm-priority"]) == (app.app_id, "-1")
    assert not [name for name in call.headers if "justitia" in name]


@pytest.mark.parametrize("way", WAYS)
async def test_dialect_reaches_every_way_to_call(server: Any, way: Any) -> None:
    """Also in the body, where a dialect puts something there."""
    with justitia.application("triage", weight=4.0) as app:
        await way(chat(dialect="dynamo"))
    (call,) = server.calls
    assert call.headers["x-dynamo-session-id"] == app.app_id
    assert call.body["nvext"] == {"agent_hints": {"priority": 2}}


def test_unknown_dialect_speaks_up() -> None:
    """When the model is made, not when it is called."""
    with pytest.raises(ValueError, match="dialect must be one of"):
        chat(dialect="klingon", api_key="key")


@pytest.mark.parametrize("way", WAYS)
async def test_responses_api_carries_hints(server: Any, way: Any) -> None:
    """OpenAI's other API, labelled like the first."""
    steps: Any = RunnableLambda(str) | chat(use_responses_api=True)
    with justitia.application("triage") as app:
        assert await way(steps) == "hello"
    assert server.apps == {app.app_id}
    assert server.calls[0].path.endswith("/responses")
    assert server.stages == [("step 2", 0)]


@pytest.mark.parametrize("way", WAYS)
async def test_step_of_a_chain_is_the_stage(server: Any, way: Any) -> None:
    """Of each kind of run; what is below a parallel belongs to the parallel's step."""
    branches = RunnableParallel(a=RunnableLambda(str) | chat(), b=chat())
    steps: Any = branches | RunnableLambda(lambda _: "both") | chat()
    with justitia.application("triage"):
        assert await way(steps) == "hello"
    assert sorted(server.stages) == [("step 1", 0), ("step 1", 0), ("step 3", 1)]


def test_graph_in_a_graph_is_in_the_stage(server: Any) -> None:
    """The path to the node, wherever the inner graph is run."""
    inner: Any = create_agent(chat(), tools=[])
    question = {"messages": [{"role": "user", "content": "hi"}]}
    graph: Any = StateGraph(State)
    graph.add_node("ask", lambda _: {"words": [str(inner.invoke(question))]})
    graph.add_edge(START, "ask")
    with justitia.application("graph"):
        graph.compile().invoke({"words": []})
    assert server.stages == [("ask:model", 0)]


def test_label_of_one_run_is_not_that_of_the_next(server: Any) -> None:
    """A model by itself has none, whatever ran before it in the same thread."""
    with justitia.application("triage"):
        (RunnableLambda(str) | chat()).invoke("hi")
        chat().invoke("hi")
        chat()._generate([HumanMessage("hi")])
    assert server.stages[:2] == [("step 2", 0), (None, None)]
    with justitia.application("other"):
        chat()._generate([HumanMessage("hi")])  # no callback says where it is
    assert server.stages[3] == (None, None)


def test_bound_headers_are_merged(server: Any) -> None:
    """A header bound by the user travels beside the hints, and neither replaces the other."""
    model = chat(default_headers={"x-client": "1"}).bind(extra_headers={"x-mine": "2"})
    with justitia.application("triage") as app:
        model.invoke("hi")
    sent = server.calls[0].headers
    assert (sent["x-client"], sent["x-mine"]) == ("1", "2")
    assert server.apps == {app.app_id}


def test_headers_in_model_kwargs_are_merged(server: Any) -> None:
    """Nor do hints replace headers given with the model."""
    model = chat(model_kwargs={"extra_headers": {"x-mine": "2"}})
    with justitia.application("triage") as app:
        model.invoke("hi")
    assert server.calls[0].headers["x-mine"] == "2"
    assert server.apps == {app.app_id}


def test_hints_bound_by_hand_win(server: Any) -> None:
    """Whoever writes the header himself is left alone."""
    model = chat().bind(extra_headers={"Justitia-Hints": '{"v":1,"app":"mine"}'})
    with justitia.application("triage"):
        model.invoke("hi")
    assert server.apps == {"mine"}


def test_bind_tools_keeps_hints(server: Any) -> None:
    """A model with tools is still ours."""
    with justitia.application("triage") as app:
        chat().bind_tools([look]).invoke("hi")
    assert server.apps == {app.app_id}


class Answer(BaseModel):
    """A structured answer."""

    what: str


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_keeps_hints(server: Any, method: Any) -> None:
    """Every method of structured output carries the hints."""
    reply = {"role": "assistant", "content": '{"what": "x"}'}
    server.replies.append(tool_calls("Answer") if method == "function_calling" else reply)
    with justitia.application("triage") as app:
        answer = chat().with_structured_output(Answer, method=method).invoke("hi")
    assert answer == Answer(what="x")
    assert server.apps == {app.app_id}


def test_retries_keep_the_call_id(server: Any) -> None:
    """The model's own retries are attempts of one call, numbered by the client's header."""
    server.failures.extend([500, 500])
    with justitia.application("triage"):
        chat().invoke("hi")
    assert len({hints.call.call for hints in server.hints}) == 1
    assert [hints.call.attempt for hints in server.hints] == [0, 1, 2]
    assert [call.headers["x-stainless-retry-count"] for call in server.calls] == ["0", "1", "2"]


def test_own_http_client_keeps_hints(server: Any) -> None:
    """A model that is given an HTTP client sends hints through it."""
    with justitia.application("triage") as app:
        chat(http_client=openai.DefaultHttpxClient()).invoke("hi")
    assert server.apps == {app.app_id}


def test_stream_usage_default_is_unchanged() -> None:
    """Being ours does not count as a client of one's own, which would turn usage off."""
    keys: dict[str, Any] = {"model": "toy", "api_key": "key"}
    assert ChatJustitia(**keys).stream_usage is ChatOpenAI(**keys).stream_usage is True


async def test_unmodified_chat_openai_under_instrument(justitia_server: Any) -> None:
    """One line and one scope cover an agent that knows nothing of Justitia."""
    justitia.instrument()
    justitia_server.replies.append(tool_calls("look"))
    agent = create_agent(ChatOpenAI(model="toy"), tools=[look])
    with justitia.application("agent") as app:
        agent.invoke({"messages": [{"role": "user", "content": "hi"}]})
        await ChatOpenAI(model="toy").ainvoke("hi")
    assert justitia_server.apps == {app.app_id}
    assert len(justitia_server.hints) == 4
    assert justitia_server.finished() == [app.app_id]


def test_missing_langchain_gives_one_clear_sentence() -> None:
    """Without the package the error says what to install."""
    program = """
import sys
sys.modules["langchain_openai"] = None
try:
    import justitia_integrations.langchain
except ImportError as exc:
    print(exc)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == (
        "ChatJustitia needs LangChain's OpenAI package: pip install justitia-sdk[langchain]"
    )
