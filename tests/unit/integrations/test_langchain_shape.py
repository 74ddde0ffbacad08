"""LangChain and LangGraph: the plan before the first call, and the labels that calls then carry."""

import operator
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    Runnable,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

import justitia_sdk as justitia
from justitia_integrations.langchain import application, instrument, plan_of, uninstrument
from justitia_sdk import Plan, Stage

pytestmark = pytest.mark.usefixtures("_new_http_clients")

MODEL: Any = ChatOpenAI(model="toy", api_key="key", base_url="http://127.0.0.1:9/v1")
PROMPT = ChatPromptTemplate.from_template("Say {what}")


def model() -> Any:
    return ChatOpenAI(model="toy")


def asked(text: str = "hi") -> dict[str, str]:
    return {"what": text}


class State(TypedDict, total=False):
    what: str
    words: Annotated[list[str], operator.add]


def node(llm: Any) -> Any:
    """Return a node that calls a model once."""

    def speak(state: State) -> State:
        return {"words": [str(llm.invoke(state["what"]).text)]}

    return speak


def graph(edges: dict[str, Any], llm: Any) -> StateGraph[Any]:
    """Return a graph of speaking nodes; an edge that ends in a function is a condition."""
    built: Any = StateGraph(State)
    for name in edges:
        if name != START:
            built.add_node(name, node(llm))
    for source, targets in edges.items():
        for target in targets if isinstance(targets, list) else [targets]:
            if callable(target):
                built.add_conditional_edges(source, target, target.ends)
            else:
                built.add_edge(source, target)
    return built


def to(*ends: str) -> Any:
    """Return a condition that chooses the first of *ends*."""

    def choose(_state: State) -> str:
        return ends[0]

    choose.ends = list(ends)  # type: ignore[attr-defined]
    return choose


def plan(**stages: Any) -> Plan:
    return Plan(tuple(Stage(name.replace("_", " "), calls) for name, calls in stages.items()))


def chain(llm: Any) -> Any:
    return PROMPT | llm | StrOutputParser()


def parallel(llm: Any) -> Any:
    return RunnableParallel(a=PROMPT | llm, b=chain(llm), c=RunnablePassthrough())


def map_reduce(llm: Any) -> Any:
    join = RunnableLambda(lambda parts: asked(str(parts)))
    return parallel(llm) | join | chain(llm).with_config(run_name="join")


def branch(llm: Any) -> Any:
    return RunnableBranch((lambda _: False, parallel(llm)), llm)


def judged(llm: Any) -> Any:
    """Return a branch whose conditions ask the model."""
    asks = RunnableLambda(lambda text: bool(llm.invoke(text)))
    return RunnableBranch((asks, llm), (asks, llm), lambda text: text)


def assigned(llm: Any) -> Any:
    return RunnablePassthrough.assign(answer=PROMPT | llm)


def fallback(llm: Any) -> Any:
    return (PROMPT | llm).with_fallbacks([PROMPT | llm, PROMPT | llm])


def retried(llm: Any) -> Any:
    return (PROMPT | llm.bind(stop=["."])).with_retry()


def function(llm: Any) -> Any:
    def ask(given: Any) -> Any:
        return llm.invoke(str(given))

    return RunnableLambda(lambda given: ask(given))


class Speaker:
    """An object that is a node, by a method or by being called."""

    def __init__(self, llm: Any) -> None:
        self.llm = llm

    def __call__(self, state: State) -> State:
        return self.speak(state)

    def speak(self, state: State) -> State:
        return {"words": [str(self.llm.invoke(state["what"]).text)]}


def in_method(llm: Any) -> Any:
    return _one_node(Speaker(llm).speak)


def in_object(llm: Any) -> Any:
    return _one_node(Speaker(llm))


def _one_node(function: Any) -> Any:
    built: Any = StateGraph(State)
    built.add_node("speak", function)
    built.add_edge(START, "speak")
    return built.compile()


def line(llm: Any) -> Any:
    return graph({START: "draft", "draft": "check", "check": END}, llm).compile()


def chosen(llm: Any) -> Any:
    ways = {START: "first", "first": to("left", "right")}
    return graph({**ways, "left": "last", "right": "last", "last": END}, llm).compile()


def side_by_side(llm: Any) -> Any:
    return graph({START: ["left", "right"], "left": "last", "right": "last", "last": END}, llm)


def joined(llm: Any) -> Any:
    return side_by_side(llm).compile()


def looping(llm: Any) -> Any:
    turns = Counter[str]()

    def again(_state: State) -> str:
        turns["all"] += 1
        return "draft" if turns["all"] < 3 else END

    again.ends = ["draft", END]  # type: ignore[attr-defined]
    return graph({START: "draft", "draft": "check", "check": again}, llm).compile()


def sending(llm: Any) -> Any:
    def each(_state: State) -> list[Send]:
        return [Send("write", {"what": str(n)}) for n in range(3)]

    each.ends = ["write"]  # type: ignore[attr-defined]
    return graph({START: "split", "split": each, "write": "join", "join": END}, llm).compile()


def nested(llm: Any) -> Any:
    built = graph({START: "before", "before": "inner", "after": END}, llm)
    built.add_node("inner", line(llm))
    built.add_edge("inner", "after")
    return built.compile()


def chain_in_node(llm: Any) -> Any:
    built: Any = StateGraph(State)
    built.add_node("both", parallel(llm) | RunnableLambda(lambda _: {"words": []}))
    built.add_edge(START, "both")
    return built.compile()


def agent(llm: Any) -> Any:
    return create_agent(llm, tools=[])


WORDS = {"what": "hi", "words": []}
MESSAGES = {"messages": [{"role": "user", "content": "hi"}]}
CASES: dict[Any, tuple[Any, Plan, Counter[str]]] = {
    # shape: its input, its plan, the calls that this input leads to
    chain: (asked(), plan(step_2=1), Counter({"step 2": 1})),
    map_reduce: (asked(), plan(step_1=2, **{"step 3.2": 1}), Counter({"step 1": 2, "step 3.2": 1})),
    assigned: (asked(), plan(step_1=1), Counter({"step 1": 1})),
    fallback: (asked(), plan(step_2=1), Counter({"step 2": 1})),
    retried: (asked(), plan(step_2=1), Counter({"step 2": 1})),
    branch: ("hi", plan(step_1=(1, 2)), Counter({"step 1": 1})),
    judged: ("hi", plan(step_1=(1, 3)), Counter({"step 1": 2})),
    function: ("hi", plan(step_1=1), Counter({"step 1": 1})),
    in_method: (WORDS, plan(speak=1), Counter(speak=1)),
    in_object: (WORDS, plan(speak=1), Counter(speak=1)),
    line: (WORDS, plan(draft=1, check=1), Counter(draft=1, check=1)),
    chosen: (
        WORDS,
        plan(first=1, left=(0, 1), right=(0, 1), last=1),
        Counter(first=1, left=1, last=1),
    ),
    joined: (WORDS, plan(left=1, right=1, last=1), Counter(left=1, right=1, last=1)),
    looping: (WORDS, plan(draft=1, check=1), Counter(draft=3, check=3)),
    sending: (WORDS, plan(split=1, join=1), Counter(split=1, write=3, join=1)),
    nested: (
        WORDS,
        Plan(tuple(Stage(n) for n in ("before", "inner:draft", "inner:check", "after"))),
        Counter({"before": 1, "inner:draft": 1, "inner:check": 1, "after": 1}),
    ),
    chain_in_node: ({**WORDS, **asked()}, plan(both=2), Counter(both=2)),
    agent: (MESSAGES, plan(model=1), Counter(model=1)),
}


@pytest.fixture
def _instrumented() -> Iterator[None]:
    instrument()
    yield
    uninstrument()


@pytest.mark.parametrize("shape", CASES, ids=lambda shape: shape.__name__)
def test_plan_is_known_before_the_first_call(server: Any, shape: Any) -> None:
    """Stages in their order, with as many calls as the shape tells; nothing is asked for it."""
    assert plan_of(shape(model())) == CASES[shape][1]
    assert server.requests == []


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("shape", CASES, ids=lambda shape: shape.__name__)
def test_calls_carry_the_names_of_the_plan(server: Any, shape: Any) -> None:
    """Every call has the label of a stage, and the first one carries the plan."""
    given, expected, made = CASES[shape]
    shape(model()).invoke(given)
    assert Counter(name for name, _ in server.stages) == made
    assert server.hints[0].application.plan == expected


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("shape", CASES, ids=lambda shape: shape.__name__)
def test_streamed_calls_carry_the_same_names(server: Any, shape: Any) -> None:
    """However the thing is run."""
    given, _, made = CASES[shape]
    list(shape(model()).stream(given))
    assert Counter(name for name, _ in server.stages) == made


@pytest.mark.usefixtures("_instrumented")
@pytest.mark.parametrize("shape", [chain, map_reduce, branch, assigned, function])
async def test_asynchronous_calls_carry_the_same_names(server: Any, shape: Any) -> None:
    """Sync or not."""
    given, expected, made = CASES[shape]
    await shape(model()).ainvoke(given)
    assert Counter(name for name, _ in server.stages) == made
    assert server.hints[0].application.plan == expected


@pytest.mark.parametrize(
    "thing",
    [
        MODEL,
        PROMPT,
        StrOutputParser(),
        RunnableLambda(len),
        MODEL.map(),
        PROMPT | StrOutputParser(),
    ],
    ids=["model", "prompt", "parser", "function", "map", "no model"],
)
def test_nothing_known_is_no_plan(thing: Runnable[Any, Any]) -> None:
    """None where there is no call, no name for it, or no number."""
    assert plan_of(thing) is None


def test_call_of_a_hook_is_uncertain() -> None:
    """Middleware calls its model when it has reason to, so it may not."""
    summarise = SummarizationMiddleware(model=MODEL, trigger=("messages", 9))
    found = plan_of(create_agent(MODEL, tools=[], middleware=[summarise]))
    assert found is not None
    hook, speaks = found.stages
    assert (hook.name, hook.call_range[0]) == ("SummarizationMiddleware.before_model", 0)
    assert speaks == Stage("model")


def test_tools_have_no_number_of_calls() -> None:
    """Whether and how often they are used, only the run tells."""

    @tool
    def look(what: str) -> str:
        """Look something up."""
        return str(MODEL.invoke(what).text)

    assert plan_of(create_agent(MODEL, tools=[look])) == plan(model=1)


def test_part_with_an_application_of_its_own_is_one_stage(server: Any) -> None:
    """Inside another application its name is the stage, in the plan as on the calls."""
    part = application(map_reduce(model()), "part")
    whole = RunnablePassthrough() | part | RunnableLambda(str) | model()
    with justitia.application("whole"):
        instrument()
        whole.invoke(asked())
        uninstrument()
    assert Counter(name for name, _ in server.stages) == Counter({"part": 3, "step 4": 1})
    assert plan_of(whole) == plan(part=3, step_4=1)


def test_graph_with_an_application_of_its_own_is_one_stage(server: Any) -> None:
    """So it is with a graph that is a node of another."""
    built = graph({START: "before", "before": "inner"}, model())
    built.add_node("inner", application(line(model()), "part"))
    whole = built.compile()
    with justitia.application("whole"):
        instrument()
        whole.invoke(WORDS)
        uninstrument()
    assert Counter(name for name, _ in server.stages) == Counter(before=1, part=2)
    assert plan_of(whole) == plan(before=1, part=2)


def test_more_stages_than_a_plan_holds_are_no_plan() -> None:
    """Half a plan would be a wrong one."""
    names = [f"n{number}" for number in range(40)]
    edges = dict(zip([START, *names], [*names, END], strict=True))
    assert plan_of(graph(edges, MODEL).compile()) is None


def test_chain_that_names_itself_is_walked_once() -> None:
    """A function that runs the chain it is part of does not lead astray."""
    found: list[Any] = []

    def again(given: Any) -> Any:
        return looped.invoke(given) if found else given

    looped = RunnableLambda(again) | MODEL
    assert plan_of(looped) == plan(step_2=1)


def test_thing_that_cannot_be_drawn_has_no_plan(caplog: pytest.LogCaptureFixture) -> None:
    """A framework that changed under us costs a warning."""

    class Broken(type(agent(MODEL))):  # type: ignore[misc]
        def get_graph(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("drawn wrong")

    broken = agent(MODEL)
    object.__setattr__(broken, "__class__", Broken)
    assert plan_of(broken) is None
    assert "plan_not_found" in caplog.text
