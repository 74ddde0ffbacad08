"""LangChain and LangGraph: runs that are applications, by `instrument` and by `application`."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

import justitia_sdk as justitia
from justitia_integrations.langchain import ChatJustitia, application, instrument, uninstrument
from justitia_sdk import Plan, Stage

pytestmark = pytest.mark.usefixtures("_new_http_clients", "_fast_retries")

HELLO = {"what": "hi"}


@pytest.fixture
def _instrumented() -> Iterator[None]:
    instrument()
    yield
    uninstrument()


def chain(llm: Any = None) -> Any:
    prompt = ChatPromptTemplate.from_template("Say {what}")
    return prompt | (llm or ChatOpenAI(model="toy")) | StrOutputParser()


def asked(text: str = "Is clause 7 valid?") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def by_invoke(thing: Any, given: Any) -> list[Any]:
    return [thing.invoke(given)]


async def by_ainvoke(thing: Any, given: Any) -> list[Any]:
    return [await thing.ainvoke(given)]


async def by_stream(thing: Any, given: Any) -> list[Any]:
    return list(thing.stream(given))


async def by_astream(thing: Any, given: Any) -> list[Any]:
    return [item async for item in thing.astream(given)]


async def by_events(thing: Any, given: Any) -> list[Any]:
    return [event async for event in thing.astream_events(given, version="v2")]


async def by_transform(thing: Any, given: Any) -> list[Any]:
    return list(thing.transform(iter([given])))


Way = Callable[[Any, Any], Awaitable[list[Any]]]
WAYS: list[Way] = [by_invoke, by_ainvoke, by_stream, by_astream, by_events, by_transform]


async def batch(thing: Any, given: list[Any]) -> list[Any]:
    return list(thing.batch(given))


async def abatch(thing: Any, given: list[Any]) -> list[Any]:
    return list(await thing.abatch(given))


async def as_completed(thing: Any, given: list[Any]) -> list[Any]:
    return [result for _, result in sorted(thing.batch_as_completed(given))]


async def aas_completed(thing: Any, given: list[Any]) -> list[Any]:
    return [
        result for _, result in sorted([each async for each in thing.abatch_as_completed(given)])
    ]


BATCHES: list[Way] = [batch, abatch, as_completed, aas_completed]


# Runs by themselves


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("way", WAYS)
async def test_run_is_an_application(justitia_server: Any, way: Way) -> None:
    """Of a chain, by every method; the server is told of its end, and nothing stays open."""
    await way(RunnableParallel(a=chain(), b=chain()), HELLO)
    (app_id,) = justitia_server.apps
    assert len(justitia_server.hints) == len(justitia_server.calls) == 2
    assert justitia_server.finished() == [app_id]


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("way", WAYS)
async def test_run_of_an_agent_is_an_application(
    justitia_server: Any, asking_for_tools: Any, way: Way
) -> None:
    """And of a graph, with all its turns."""
    agent = create_agent(ChatOpenAI(model="toy"), tools=[], name="clerk")
    await way(agent, asked())
    await way(agent, asked())
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert {hints.application.type for hints in justitia_server.hints} == {"clerk"}


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("way", BATCHES)
async def test_inputs_of_a_batch_are_applications(server: Any, way: Way) -> None:
    """Each by itself, with its own input."""
    assert await way(chain(), [{"what": "one"}, {"what": "two"}]) == ["hello", "hello"]
    told = {hints.application.app: hints.application.input for hints in server.hints}
    assert sorted(told.values()) == ["{'what': 'one'}", "{'what': 'two'}"]


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("way", BATCHES)
async def test_batch_in_an_application_is_part_of_it(server: Any, way: Way) -> None:
    """Then it is one application."""
    with justitia.application("outer") as app:
        assert await way(chain(), [HELLO] * 3) == ["hello"] * 3
    assert server.apps == {app.app_id}
    assert len(server.hints) == 3


@pytest.mark.usefixtures("_instrumented")
def test_batch_keeps_exceptions_apart(server: Any) -> None:
    """One input by itself or with others: what fails is told in its place."""
    results = chain().batch([HELLO, {"wrong": "key"}, HELLO], return_exceptions=True)
    assert [isinstance(result, KeyError) for result in results] == [False, True, False]
    with pytest.raises(KeyError):
        chain().batch([HELLO, {"wrong": "key"}])


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("way", [by_invoke, by_ainvoke, by_stream, by_astream])
async def test_model_by_itself_is_no_application(server: Any, way: Way) -> None:
    """One call has nothing to hold together."""
    await way(ChatOpenAI(model="toy"), "hi")
    await way(ChatOpenAI(model="toy").bind(stop=["."]), "hi")
    assert len(server.calls) == 2
    assert server.hints == []


@pytest.mark.usefixtures("_instrumented")
def test_run_in_a_run_without_application_is_none(server: Any) -> None:
    """A chain in the tool of somebody else's run is no run of its own."""
    chain().invoke(HELLO, {"callbacks": _child_of_a_run()})
    assert server.hints == []


def _child_of_a_run() -> Any:
    """Return the callbacks that a run hands to its children."""
    from langchain_core.callbacks import CallbackManager

    run = CallbackManager(handlers=[]).on_chain_start(None, "hi")
    return run.get_child()


@pytest.mark.usefixtures("_instrumented")
def test_name_of_the_run_is_the_type(server: Any) -> None:
    """The name given with the run, or with the chain, or LangChain's own."""
    chain().invoke(HELLO, {"run_name": "summary"})
    chain().with_config(run_name="review").invoke(HELLO)
    chain().invoke(HELLO)
    (RunnableParallel({f"branch {n}" * 9: chain() for n in range(3)})).invoke(HELLO)
    types = [hints.application.type for hints in server.hints]
    assert types[:3] == ["summary", "review", "RunnableSequence"]
    assert types[3].startswith("RunnableParallel<branch 0")
    assert len(types[3]) == 128


@pytest.mark.usefixtures("_instrumented")
def test_input_is_what_the_messages_say(server: Any) -> None:
    """In whatever form they are given."""
    agent = create_agent(ChatOpenAI(model="toy"), tools=[])
    agent.invoke(asked("one"))
    agent.invoke({"messages": [("system", "be brief"), ("user", "two")]})
    RunnableLambda(lambda text: ChatOpenAI(model="toy").invoke(text)).invoke("three")
    inputs = [hints.application.input for hints in server.hints]
    assert inputs == ["one", "be brief\ntwo", "three"]


@pytest.mark.usefixtures("_instrumented")
def test_callbacks_and_config_reach_the_run(server: Any) -> None:
    """The run itself is what it was."""
    seen: list[Any] = []

    class Handler(BaseCallbackHandler):
        def on_chat_model_start(self, *_args: Any, **run: Any) -> None:
            seen.append((run["tags"], run["metadata"]["who"]))

    chain().invoke(HELLO, {"callbacks": [Handler()], "tags": ["mine"], "metadata": {"who": "me"}})
    assert seen == [(["seq:step:2", "mine"], "me")]


@pytest.mark.usefixtures("_instrumented")
def test_generator_left_early_ends_the_application(justitia_server: Any) -> None:
    """Whoever stops reading has ended the run."""
    chain().invoke(HELLO)  # the server is known from now on
    items = chain().stream(HELLO)
    next(items)
    items.close()
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert len(justitia_server.apps) == 2


@pytest.mark.usefixtures("_instrumented")
async def test_interleaved_streams_stay_apart(server: Any) -> None:
    """Two runs read in turns are two applications, and their reader is in neither."""
    one, two = (chain(ChatOpenAI(model="toy")).astream({"what": name}) for name in ("one", "two"))
    for _ in range(2):
        await anext(one)
        await anext(two)
        assert justitia.current_application() is None
    await one.aclose()
    await two.aclose()
    assert [hints.application.input for hints in server.hints] == [
        "{'what': 'one'}",
        "{'what': 'two'}",
    ]


# What `application` returns


@pytest.mark.parametrize("way", WAYS)
async def test_each_run_is_an_application(justitia_server: Any, way: Way) -> None:
    """By every method, of a chain and of a graph, without `instrument`."""
    llm = ChatJustitia(model="toy")
    graph = create_agent(llm, tools=[], name="clerk")
    for thing, given in ((chain(llm), HELLO), (graph, asked())):
        justitia_server.requests.clear()
        twin = application(thing, "named", weight=2.0)
        assert _plain(await way(twin, given)) == _plain(await way(thing, given))
        await way(twin, given)
        assert len(justitia_server.calls) == 3
        assert len(justitia_server.apps) == 2
        assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
        facts = {
            (hints.application.type, hints.application.weight) for hints in justitia_server.hints
        }
        assert facts == {("named", 2.0)}


def _plain(results: list[Any]) -> list[str]:
    """Return of what kind results are; ids differ."""
    kinds = [result.get("event") if isinstance(result, dict) else str(result) for result in results]
    return [str(kind) for kind in kinds]


@pytest.mark.parametrize("way", BATCHES)
async def test_each_input_of_a_batch_is_an_application(server: Any, way: Way) -> None:
    """With as many at the same time as the user lets be."""
    llm = ChatJustitia(model="toy")
    for thing in (
        chain(llm),
        chain(llm).with_config(max_concurrency=2),
        RunnableLambda(llm.invoke),
    ):
        server.requests.clear()
        given = [HELLO] * 3 if not isinstance(thing, RunnableLambda) else ["hi"] * 3
        assert len(await way(application(thing), given)) == 3
        assert len(server.apps) == 3


@pytest.mark.parametrize("way", WAYS)
async def test_inside_another_it_is_part_of_it(server: Any, way: Way) -> None:
    """Its name is the stage."""
    twin = application(chain(ChatJustitia(model="toy")), "part")
    with justitia.application("outer") as app:
        await way(twin, HELLO)
    assert server.apps == {app.app_id}
    assert server.stages == [("part", 0)]


def test_chain_that_becomes_part_of_another_stays_an_application(server: Any) -> None:
    """A sequence is not dissolved into the sequence that it becomes a step of."""
    twin = application(chain(ChatJustitia(model="toy")), "named")
    whole = twin | RunnableLambda(str.upper)
    assert whole.invoke(HELLO) == "HELLO"
    assert [hints.application.type for hints in server.hints] == ["named"]


def test_it_is_what_it_was(server: Any) -> None:
    """The same class, graph and schema; the original stays as it is."""
    llm = ChatJustitia(model="toy")
    for thing in (RunnableParallel(a=llm), create_agent(llm, tools=[]), llm, llm.bind(stop=["."])):
        twin = application(thing, "named")
        assert isinstance(twin, type(thing))
        assert twin is not thing
        assert twin.get_name() == thing.get_name()
        assert twin.get_graph().to_json() == thing.get_graph().to_json()
        assert twin.get_input_jsonschema() == thing.get_input_jsonschema()
    thing = chain(llm)
    twin = application(thing)
    assert isinstance(twin, Runnable)
    assert twin.steps == thing.steps
    assert twin.get_graph().draw_mermaid() == thing.get_graph().draw_mermaid()
    thing.invoke(HELLO)
    assert server.hints == []


def test_with_config_stays_an_application(server: Any) -> None:
    """What LangChain derives from it is one, too."""
    llm = ChatJustitia(model="toy")
    application(chain(llm)).with_config(run_name="summary").invoke(HELLO)
    application(create_agent(llm, tools=[]).with_config(run_name="review")).invoke(asked())
    application(llm, "bound").bind(stop=["."]).invoke("hi")
    application(llm.bind(stop=["."]), "binding").invoke("hi")
    application(chain(llm), "again").with_retry().invoke(HELLO)
    types = [hints.application.type for hints in server.hints]
    assert types == ["summary", "review", "bound", "binding", "again"]


def test_graph_keeps_its_other_methods(server: Any) -> None:
    """State, threads, subgraphs: all there."""

    def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [ChatJustitia(model="toy").invoke(state["messages"])]}

    built: Any = StateGraph(MessagesState)
    built.add_node("speak", speak)
    built.add_edge(START, "speak")
    twin = application(built.compile(checkpointer=InMemorySaver()), "thread")
    assert isinstance(twin, CompiledStateGraph)
    config: Any = {"configurable": {"thread_id": "1"}}
    for _ in range(2):
        twin.invoke(asked(), config)
    assert len(twin.get_state(config).values["messages"]) == 4
    twin.update_state(config, asked("more"))
    assert len(twin.get_state(config).values["messages"]) == 5
    assert [hints.application.type for hints in server.hints] == ["thread", "thread"]
    assert len(server.apps) == 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_events_of_the_third_version(justitia_server: Any) -> None:
    """LangGraph's newest way to stream is a run like any other, sync and async."""
    twin = application(create_agent(ChatJustitia(model="toy"), tools=[]), "named")
    stream = await twin.astream_events(asked(), version="v3")
    assert [event async for event in stream]
    assert list(twin.stream_events(asked(), version="v3"))
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    assert justitia.current_application() is None


def test_user_has_the_last_word(server: Any) -> None:
    """On input and plan, which is not added to."""
    plan = Plan((Stage("mine", 7),))
    application(chain(ChatJustitia(model="toy")), input="told", plan=plan).invoke(HELLO)
    facts = server.hints[0].application
    assert (facts.input, facts.plan) == ("told", plan)


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"name": ""}, {"deadline_s": 0}, {"plan": []}])
def test_wrong_arguments_speak_up_at_once(wrong: dict[str, Any]) -> None:
    """Before any run."""
    if wrong == {"name": ""}:
        wrong = {"name": "x" * 200}
    with pytest.raises(justitia.errors.ConfigurationError):
        application(chain(ChatOpenAI(model="toy", api_key="key")), **wrong)


def test_both_ways_at_once_are_one_application_a_run(server: Any) -> None:
    """`instrument` and `application` together: each run once, announced once."""
    twin = application(chain(), "named")
    instrument()
    twin.invoke(HELLO)
    application(chain(), "later").invoke(HELLO)
    uninstrument()
    facts = [(hints.application.type, hints.application.plan) for hints in server.hints]
    assert facts == [(name, Plan((Stage("step 2"),))) for name in ("named", "later")]


def test_applications_leave_nothing_behind(server: Any) -> None:
    """What was known of a run goes with it."""
    llm = ChatJustitia(model="toy")
    opened: list[weakref.ref[Any]] = []

    def note(given: Any) -> Any:
        opened.append(weakref.ref(justitia.current_application()))
        return given

    twin = application(RunnableLambda(note) | llm)
    for _ in range(3):
        twin.invoke("hi")
    gc.collect()
    assert [each() for each in opened[:-1]] == [None, None]


# Caches


@pytest.fixture
def cache() -> Iterator[InMemoryCache]:
    cache = InMemoryCache()
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def test_cache_is_shared_by_runs(server: Any, cache: InMemoryCache) -> None:
    """A plain run fills the cache; runs that are applications are served from it."""
    chain().invoke(HELLO)
    application(chain(), "named").invoke(HELLO)
    application(chain(ChatJustitia(model="toy")), "named").invoke(HELLO)
    chain(application(ChatOpenAI(model="toy"), "named")).invoke(HELLO)
    instrument()
    chain().invoke(HELLO)
    application(chain(), "named").invoke(HELLO)
    uninstrument()
    assert len(server.calls) == 1


def test_saved_model_is_the_plain_one() -> None:
    """Being an application is not stored."""
    keys: dict[str, Any] = {"model": "toy", "api_key": "key"}
    assert dumps(application(ChatOpenAI(**keys), "named")) == dumps(ChatOpenAI(**keys))


# Receipts


class Listener(BaseCallbackHandler):
    """Keeps the receipts it is told of."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.first_run: Any = None
        self.has_heard = threading.Event()

    def on_chain_start(self, *_args: Any, run_id: Any, **_kwargs: Any) -> None:
        self.first_run = self.first_run or run_id

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **kwargs: Any) -> None:
        self.told.append((name, data, run_id))
        self.has_heard.set()


class AsyncListener(AsyncCallbackHandler):
    """The same, asynchronous."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.has_heard = threading.Event()

    async def on_custom_event(self, name: str, data: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self.told.append(name)
        self.has_heard.set()


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
async def test_receipt_is_an_event(justitia_server: Any, way: str) -> None:
    """Whoever listens hears of each run after its end, under the id of the run."""
    listener, other = Listener(), AsyncListener()
    twin = application(chain(ChatJustitia(model="toy")), "named")
    result = getattr(twin, way)(HELLO, {"callbacks": [listener, other]})
    if way == "ainvoke":
        await result
    elif way == "astream":
        assert [item async for item in result]
    elif way == "stream":
        assert list(result)
    assert await asyncio.to_thread(listener.has_heard.wait, 5.0)
    assert await asyncio.to_thread(other.has_heard.wait, 5.0)
    ((name, receipt, run_id),) = listener.told
    assert name == "justitia_receipt"
    assert (receipt.app_id, receipt.state) == (justitia_server.finished()[0], "finished")
    assert run_id == listener.first_run
    assert other.told == ["justitia_receipt"]


def test_receipt_is_fetched_for_listeners_only(justitia_server: Any) -> None:
    """Other handlers cost nothing."""
    twin = application(chain(ChatJustitia(model="toy")), "named")
    twin.invoke(HELLO)
    twin.invoke(HELLO, {"callbacks": [BaseCallbackHandler()]})
    _receipts_are_done()
    assert [each for each in justitia_server.requests if each.method == "GET"] == []


def test_receipt_delays_nobody(justitia_server: Any) -> None:
    """A run whose receipt is not settled yet returns all the same."""
    justitia_server.receipts.append({"fair_finish_is_provisional": True})
    listener = Listener()
    twin = application(chain(ChatJustitia(model="toy")), "named")
    twin.invoke(HELLO, {"callbacks": [listener]})
    assert listener.told == []
    assert listener.has_heard.wait(5.0)
    assert listener.told[0][1].is_provisional


def test_receipt_of_a_busy_server(justitia_server: Any) -> None:
    """A receipt that takes its time comes all the same: nobody waits for it."""
    justitia_server.receipts.append(2.5)
    listener = Listener()
    application(chain(ChatJustitia(model="toy")), "named").invoke(HELLO, {"callbacks": [listener]})
    assert listener.has_heard.wait(10.0)


@pytest.mark.parametrize("kind", ["plain", "gone", "failing"])
def test_no_receipt_is_no_event(server: Any, kind: str) -> None:
    """Where no Justitia server is, or it does not know, nothing is said, and nothing breaks."""
    server.is_justitia = kind != "plain"
    server.receipts.append(404)
    listener = Listener()
    thing = chain(ChatJustitia(model="toy"))
    if kind == "gone":
        thing = RunnableLambda(str)
    application(thing, "named").invoke(HELLO, {"callbacks": [listener]})
    _receipts_are_done()
    assert listener.told == []


def test_part_of_another_has_no_receipt(justitia_server: Any) -> None:
    """The application has not ended."""
    listener = Listener()
    with justitia.application("outer"):
        twin = application(chain(ChatJustitia(model="toy")), "part")
        twin.invoke(HELLO, {"callbacks": [listener]})
        _receipts_are_done()
    assert listener.told == []


def _receipts_are_done() -> None:
    for thread in threading.enumerate():
        if thread.name == "justitia-receipt":
            thread.join(5.0)
