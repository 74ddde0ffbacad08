"""LangGraph: what only graphs have: functions as graphs, interrupts, graphs in graphs."""

import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import openai
import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt

import justitia_sdk as justitia
from justitia_integrations import langchain, langgraph

pytestmark = pytest.mark.usefixtures("_new_http_clients")


class State(TypedDict, total=False):
    words: Annotated[list[str], operator.add]
    what: str


GIVEN: Any = {"words": [], "what": "hi"}


@pytest.fixture(autouse=True)
def _instrumented() -> Iterator[None]:
    langgraph.instrument()
    yield
    langgraph.uninstrument()


def speak(state: State) -> State:
    return {"words": [str(ChatOpenAI(model="toy").invoke(state["what"]).text)]}


async def aspeak(state: State) -> State:
    return {"words": [str((await ChatOpenAI(model="toy").ainvoke(state["what"])).text)]}


def graph(**nodes: Any) -> Any:
    """Return a graph of these nodes, one after the other."""
    built: Any = StateGraph(State)
    last = START
    for name, node in nodes.items():
        built.add_node(name, node)
        built.add_edge(last, name)
        last = name
    return built


def test_verbs_are_those_of_langchain() -> None:
    """A graph is a runnable: either module does."""
    for verb in ("instrument", "uninstrument", "application", "plan_of"):
        assert getattr(langgraph, verb) is getattr(langchain, verb)


@pytest.mark.parametrize("mode", ["values", "updates", "messages", ["values", "messages"]])
async def test_every_stream_mode_is_one_application(justitia_server: Any, mode: Any) -> None:
    """What is streamed is what it was, sync and async."""
    thing = graph(draft=aspeak, check=aspeak).compile(name="review")
    langgraph.uninstrument()
    plain = [item async for item in thing.astream(GIVEN, stream_mode=mode)]
    langgraph.instrument()
    hinting = [item async for item in thing.astream(GIVEN, stream_mode=mode)]
    assert len(hinting) == len(plain)
    (app_id,) = justitia_server.apps
    assert justitia_server.stages == [("draft", 0), ("check", 1)]
    assert justitia_server.finished() == [app_id]


def test_functional_graphs_are_applications(server: Any) -> None:
    """`entrypoint` makes a graph, and a `task` is a stage of it."""

    @task
    def draft(what: str) -> str:
        return str(ChatOpenAI(model="toy").invoke(what).text)

    @entrypoint()
    def review(what: str) -> str:
        parts = [draft(f"{what} {number}") for number in range(3)]
        return " ".join(part.result() for part in parts)

    named = langgraph.application(review, "review")
    assert named.invoke("hi") == "hello hello hello"
    assert len(server.apps) == 1
    assert {hints.application.type for hints in server.hints} == {"review"}
    assert {name for name, _ in server.stages} == {"review:draft"}


def test_interrupted_run_has_ended(justitia_server: Any) -> None:
    """Who resumes it later starts another application, unless a scope holds both."""

    def approve(_state: State) -> State:
        return {"words": [interrupt("may I?")]}

    thing = graph(draft=speak, approve=approve, send=speak).compile(checkpointer=InMemorySaver())
    for number, is_held in enumerate((False, True)):
        justitia_server.requests.clear()
        config = {"configurable": {"thread_id": str(number)}}
        if is_held:
            with justitia.application("mail") as app:
                thing.invoke(GIVEN, config)
                with app.tool("approval"):
                    assert justitia_server.finished() == []
                thing.invoke(Command(resume="yes"), config)
        else:
            thing.invoke(GIVEN, config)
            thing.invoke(Command(resume="yes"), config)
        assert thing.get_state(config).values["words"] == ["hello", "yes", "hello"]
        assert len(justitia_server.apps) == (1 if is_held else 2)
        assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


def test_tasks_sent_in_a_graph_in_a_graph(server: Any) -> None:
    """Their stage has the path of their node."""

    def each(_state: State) -> list[Send]:
        return [Send("write", {"what": str(number)}) for number in range(3)]

    inner = graph(split=lambda _: {"words": []})
    inner.add_node("write", speak)
    inner.add_conditional_edges("split", each, ["write"])
    graph(first=speak, inner=inner.compile()).compile().invoke(GIVEN)
    assert sorted(server.stages) == [("first", 0), *[("inner:write", 1)] * 3]
    plan = server.hints[1].application.plan
    assert [(stage.name, stage.calls) for stage in plan.stages] == [
        ("inner:write", (0, 3)),  # the model is made in the node, so nobody knows that it asks one
    ]


def test_failure_of_the_graph_passes(justitia_server: Any) -> None:
    """The framework's own exception, and the application has ended."""
    built = graph(draft=speak)
    built.add_edge("draft", "draft")
    with pytest.raises(GraphRecursionError):
        built.compile().invoke(GIVEN, {"recursion_limit": 3})
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert len(justitia_server.hints) == 3


def test_other_clients_in_a_node_have_no_label(server: Any) -> None:
    """They say where they belong, and nothing of the node, which LangChain alone knows."""

    def raw(state: State) -> State:
        with openai.OpenAI() as client:
            messages: Any = [{"role": "user", "content": state["what"]}]
            client.chat.completions.create(model="toy", messages=messages)
        return {"words": []}

    graph(raw=raw).compile(name="review").invoke(GIVEN)
    assert [hints.application.type for hints in server.hints] == ["review"]
    assert server.stages == [(None, None)]
