"""LangChain and LangGraph: what is announced before it comes, tool time, nothing kept."""

import asyncio
import gc
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

import justitia_sdk as justitia
from justitia_integrations._langchain import structure
from justitia_integrations.langchain import ChatJustitia, application, instrument, uninstrument
from justitia_sdk import Plan, Stage

pytestmark = pytest.mark.usefixtures("_new_http_clients")

HELLO = {"what": "hi"}
ASKED = {"messages": [{"role": "user", "content": "Is clause 7 valid?"}]}


@pytest.fixture
def _instrumented() -> Iterator[None]:
    instrument()
    yield
    uninstrument()


def model(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="toy", **options)


def chain(llm: Any = None) -> Any:
    prompt = ChatPromptTemplate.from_template("Say {what}")
    return prompt | (llm or model()) | StrOutputParser()


def stages(plan: Plan | None) -> dict[str, Any]:
    """Return the calls of a plan's stages, all turns of them together."""
    told = plan.stages if plan else ()
    totals = {stage.name: (stage.call_range, stage.loop) for stage in told}
    return {
        name: most * loop if least == most else (least, most)
        for name, ((least, most), loop) in totals.items()
    }


def announced(server: Any) -> list[dict[str, Any]]:
    """Return what each call said of the whole, in order."""
    return [stages(hints.application.plan) for hints in server.hints]


# Before the burst


@pytest.mark.usefixtures("_instrumented")
def test_branches_are_announced_with_the_first_call(server: Any) -> None:
    """A chain that is run in an application tells how many calls it makes at once."""
    with justitia.application("outer") as app:
        RunnableParallel(a=chain(), b=chain(), c=chain()).invoke(HELLO)
    assert announced(server) == [{"step 1": 3}] * 3
    assert app.plan == Plan((Stage("step 1", 3),))


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("is_async", [False, True])
async def test_batch_is_announced_with_the_first_call(server: Any, is_async: bool) -> None:
    """Of a chain as of a model, whose stage is then the batch."""
    with justitia.application("outer"):
        for thing, given in ((chain(), HELLO), (model(), "hi")):
            await thing.abatch([given] * 4) if is_async else thing.batch([given] * 4)
    assert announced(server) == [{"step 2": 4}] * 4 + [{"step 2": 4, "batch": 4}] * 4
    assert [name for name, _ in server.stages] == ["step 2"] * 4 + ["batch"] * 4


@pytest.mark.parametrize("is_async", [False, True])
async def test_batch_of_our_model_is_announced(server: Any, is_async: bool) -> None:
    """Without `instrument`, too."""
    llm = ChatJustitia(model="toy")
    with justitia.application("outer"):
        await llm.abatch(["hi"] * 4) if is_async else llm.batch(["hi"] * 4)
    assert announced(server) == [{"batch": 4}] * 4


@pytest.mark.usefixtures("_instrumented")
def test_batch_with_limited_concurrency(server: Any) -> None:
    """So many at the same time, so many times."""
    with justitia.application("outer") as app:
        chain().batch([HELLO] * 6, {"max_concurrency": 2})
    assert app.plan == Plan((Stage("step 2", 2, loop=3),))


@pytest.mark.usefixtures("_instrumented")
def test_batch_as_completed_is_announced(server: Any) -> None:
    """The other way to run a batch."""
    with justitia.application("outer"):
        assert len(list(model().batch_as_completed(["hi"] * 3))) == 3
    assert announced(server) == [{"batch": 3}] * 3


@pytest.mark.usefixtures("_instrumented")
def test_batch_within_a_run_is_announced(server: Any) -> None:
    """In a function of a chain, where nobody can know its size beforehand."""
    parts = RunnableLambda(lambda text: chain().batch([{"what": part} for part in text]))
    with justitia.application("outer"):
        (RunnableLambda(str) | parts).invoke("abc")
    assert announced(server) == [{"step 2.2": 3}] * 3
    assert {name for name, _ in server.stages} == {"step 2.2"}


@pytest.mark.usefixtures("_instrumented")
def test_what_was_announced_before_stays_counted(server: Any) -> None:
    """Two batches and a run, one after the other: the plan holds them all."""
    thing = chain()
    with justitia.application("outer"):
        thing.batch([HELLO] * 3)
        thing.batch([HELLO] * 3)
        thing.invoke(HELLO)
    assert [each["step 2"] for each in announced(server)] == [3] * 3 + [6] * 3 + [7]


@pytest.mark.usefixtures("_instrumented")
def test_stage_of_the_user_is_left_alone(server: Any) -> None:
    """Inside it nothing is found out: its name is that of all calls."""
    with justitia.application("outer") as app:
        with app.stage("mine", calls=2):
            chain().batch([HELLO] * 2)
        assert stages(app.plan) == {"mine": 2}
    assert [name for name, _ in server.stages] == ["mine"] * 2


@pytest.mark.usefixtures("_instrumented")
def test_plan_of_the_user_stands(server: Any, asking_for_tools: Any) -> None:
    """Nothing is added to what was declared."""
    server.replies.append(asking_for_tools("look"))
    plan = Plan((Stage("mine"),))
    with justitia.application("outer", plan=plan) as app:
        create_agent(model(), tools=[look]).invoke(ASKED)
    assert app.plan == plan


# Replies and tasks


@tool
def look(what: str) -> str:
    """Look something up."""
    return f"{what} stands"


@tool
def ask(what: str) -> str:
    """Ask somebody else."""
    return str(ChatJustitia(model="toy").invoke(what).text)


@pytest.mark.parametrize("is_instrumented", [False, True])
def test_tools_of_a_reply_are_announced(
    server: Any, asking_for_tools: Any, is_instrumented: bool
) -> None:
    """A reply that asks for three tools tells of up to three calls, and of the next turn."""
    if is_instrumented:
        instrument()
    server.replies.append(asking_for_tools("ask", "ask", "ask"))
    with justitia.application("outer"):
        create_agent(ChatJustitia(model="toy"), tools=[ask]).invoke(ASKED)
    uninstrument()
    first, *tools, last = announced(server)
    assert first == ({"model": 1} if is_instrumented else {})
    assert tools == [{"model": 2, "tools": (0, 3)}] * 3
    assert last == {"model": 2, "tools": (0, 3)}


@pytest.mark.usefixtures("_instrumented")
def test_tools_that_make_no_calls_are_announced_no_more(server: Any, asking_for_tools: Any) -> None:
    """Once tools were used and asked nothing of the server, they are not counted with it."""
    server.replies.extend([asking_for_tools("look", "look"), asking_for_tools("look")])
    agent = create_agent(model(), tools=[look])
    agent.invoke(ASKED)
    turns = announced(server)
    assert [each["model"] for each in turns] == [1, 2, 3]
    assert turns[1]["tools"] == turns[2]["tools"] == (0, 2)


@pytest.mark.usefixtures("_instrumented")
def test_structured_output_is_no_turn(server: Any, asking_for_tools: Any) -> None:
    """A tool call that nobody runs announces nothing."""
    server.replies.append(asking_for_tools("look"))
    with justitia.application("outer") as app:
        chain(model().bind_tools([look])).invoke(HELLO)
    assert stages(app.plan) == {"step 2": 1}


class State(TypedDict, total=False):
    words: Annotated[list[str], operator.add]
    what: str


def sending(llm: Any, by: str) -> Any:
    """Return a graph that sends four tasks, by an edge or by a command, and joins them."""

    def write(state: State) -> State:
        return {"words": [str(llm.invoke(state["what"]).text)]}

    def tasks() -> list[Send]:
        return [Send("write", {"what": str(number)}) for number in range(4)]

    def split(_state: State) -> Any:
        return Command(goto=tasks()) if by == "command" else {"words": []}

    def each(_state: State) -> list[Send]:
        return tasks()

    built: Any = StateGraph(State)
    built.add_node("split", split, destinations=("write",) if by == "command" else None)
    built.add_node("write", write)
    built.add_node("join", write)
    built.add_edge(START, "split")
    if by == "edge":
        built.add_conditional_edges("split", each, ["write"])
    built.add_edge("write", "join")
    return built.compile()


@pytest.mark.parametrize("by", ["edge", "command"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_sent_tasks_are_announced(server: Any, by: str, is_async: bool) -> None:
    """Before the first of them makes its call, exactly, at its place in the plan."""
    graph = application(sending(ChatJustitia(model="toy"), by), "sending")
    given = {"what": "hi", "words": []}
    await graph.ainvoke(given) if is_async else graph.invoke(given)
    tasks = announced(server)[:4]
    assert [each["write"] for each in tasks] == [4] * 4
    assert announced(server)[-1]["join"] == 1
    assert [name for name, _ in server.stages] == ["write"] * 4 + ["join"]


def test_sent_tasks_of_an_unknown_graph_are_a_range(server: Any) -> None:
    """Without `instrument` in a scope of the user's: as many calls as tasks, at most."""
    with justitia.application("outer"):
        sending(ChatJustitia(model="toy"), "edge").invoke({"what": "hi", "words": []})
    assert announced(server)[0] == {"write": (0, 4)}


# Tool time


def events(server: Any) -> list[tuple[str, str]]:
    told = [request.body for request in server.told("events")]
    return [(each["event"], each["name"]) for each in told if each["event"].startswith("tool")]


USED = [("tool_start", "look"), ("tool_end", "look")]


@pytest.mark.parametrize("is_async", [False, True])
async def test_tools_are_reported(
    justitia_server: Any, asking_for_tools: Any, is_async: bool
) -> None:
    """Their beginning and end, of each one."""
    justitia_server.replies.append(asking_for_tools("look", "look"))
    agent = application(create_agent(ChatJustitia(model="toy"), tools=[look]))
    await agent.ainvoke(ASKED) if is_async else agent.invoke(ASKED)
    assert sorted(events(justitia_server)) == sorted(USED * 2)


def test_tool_that_fails_has_ended(justitia_server: Any) -> None:
    """The time it took is over."""

    @tool("look")
    def wrong(what: str) -> str:
        """Look, and fail."""
        raise RuntimeError(what)

    with justitia.application("outer"):
        ChatJustitia(model="toy").invoke("hi")
        with pytest.raises(RuntimeError):
            wrong.invoke({"what": "x"})
    assert events(justitia_server) == USED


async def test_tool_that_is_cancelled_has_ended(
    justitia_server: Any, asking_for_tools: Any
) -> None:
    """LangChain says nothing of its end, but the run around it does."""
    has_begun = asyncio.Event()

    @tool("look")
    async def slow(what: str) -> str:
        """Look for a long time."""
        has_begun.set()
        await asyncio.sleep(60)
        return what

    justitia_server.replies.append(asking_for_tools("look"))
    agent = create_agent(ChatJustitia(model="toy"), tools=[slow])
    async with justitia.application("outer") as app:
        task = asyncio.create_task(agent.ainvoke(ASKED))
        await asyncio.wait_for(has_begun.wait(), 10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert events(justitia_server) == USED
        assert structure.observation_of(app)._runs == {}


# Nothing kept, nothing broken


async def test_cancelled_call_leaves_nothing(justitia_server: Any) -> None:
    """Neither the end nor the failure of a model is told when it is cancelled."""
    justitia_server.failures.append("hang")
    thing = chain(ChatJustitia(model="toy", max_retries=0))
    async with justitia.application("outer") as app:
        task = asyncio.create_task(thing.ainvoke(HELLO))
        assert await asyncio.to_thread(justitia_server.is_hanging.wait, 10.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert structure.observation_of(app)._runs == {}


@pytest.mark.usefixtures("_instrumented")
def test_abandoned_stream_leaves_nothing(server: Any) -> None:
    """A reader that goes away ends the run."""
    with justitia.application("outer") as app:
        items = chain().stream(HELLO)
        next(items)
        items.close()
        assert structure.observation_of(app)._runs == {}


@pytest.mark.usefixtures("_instrumented")
def test_observations_go_with_their_applications(server: Any) -> None:
    """What is known of an application is forgotten with it."""
    for _ in range(3):
        chain().invoke(HELLO)
    gc.collect()
    assert len(structure._observations) <= 1  # the context may hold the latest


@pytest.mark.usefixtures("_instrumented")
def test_faults_of_ours_break_nothing(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in looking on, the run goes on."""

    def wrong(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("ours")

    for name in ("begin", "end", "call", "place", "expect", "learn"):
        monkeypatch.setattr(structure.Observation, name, wrong)
    monkeypatch.setattr(structure, "shape_of", wrong)
    assert chain().invoke(HELLO) == "hello"
    assert "".join(chain().stream(HELLO)) == "hello"
    assert chain().batch([HELLO] * 2) == ["hello"] * 2
    assert len(server.apps) == 4


@pytest.mark.usefixtures("_instrumented")
def test_nothing_is_observed_outside_applications(server: Any) -> None:
    """A model by itself runs without our handler."""
    seen: list[int] = []

    class Spy(ChatOpenAI):
        def _generate(self, *args: Any, run_manager: Any = None, **kwargs: Any) -> Any:
            seen.append(len(run_manager.handlers))
            return super()._generate(*args, run_manager=run_manager, **kwargs)

    Spy(model="toy").invoke("hi")
    with justitia.application("outer"):
        Spy(model="toy").invoke("hi")
    assert seen == [0, 1]
