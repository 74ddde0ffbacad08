"""What is LlamaIndex's own: workflows that run on, streams read late, agents that hand over."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.async_utils import asyncio_run
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.query_engine import TransformQueryEngine
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.tools import QueryEngineTool
from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step
from llama_index.llms.openai_like import OpenAILike

import justitia_integrations.llama_index as integration
import justitia_sdk as justitia
from integrations.framework import Message, look, seen, tool_call
from integrations.frameworks.llama_index import framework, model

QUESTION = "Is clause 7 valid?"


@pytest.fixture(autouse=True)
def _instrumented() -> Iterator[None]:
    integration.instrument()
    yield
    integration.uninstrument()


def engine(**options: Any) -> Any:
    index = SummaryIndex.from_documents([Document(text="Clause 7 stands.")])
    return index.as_query_engine(llm=model(), **options)


def labels(server: Any) -> list[str | None]:
    return [stage for stage, _ in server.stages]


def said(content: str) -> Message:
    return {"role": "assistant", "content": content}


# Workflows


class Part(Event):
    number: int


class Done(Event):
    text: str


class Review(Workflow):
    """Fans out to steps in threads and tasks, then joins."""

    @step
    async def split(self, ctx: Context, ev: StartEvent) -> Part | None:
        for number in range(3):
            ctx.send_event(Part(number=number))
        return None

    @step(num_workers=3)
    def read(self, ev: Part) -> Done:
        return Done(text=str(model().complete("read")))

    @step
    async def join(self, ctx: Context, ev: Done) -> StopEvent | None:
        parts = ctx.collect_events(ev, [Done] * 3)
        if parts is None:
            return None
        parts.append(Done(text=str(await model().acomplete("join"))))
        return StopEvent(result=" ".join(part.text for part in parts))


class Short(Workflow):
    """Asks once."""

    @step
    async def ask(self, ev: StartEvent) -> StopEvent:
        return StopEvent(result=str(await model().acomplete("ask")))


async def test_steps_are_stages_of_one_application(justitia_server: Any) -> None:
    """Steps in tasks and threads, fanned out or joined, carry the run's application."""
    assert await Review().run(topic=QUESTION) == "hello hello hello hello"
    assert labels(justitia_server) == ["read"] * 3 + ["join"]
    assert len(justitia_server.apps) == 1
    facts = justitia_server.hints[0].application
    assert (facts.type, facts.input) == ("Review", QUESTION)


async def test_steps_are_stages_of_an_open_application(server: Any) -> None:
    """Inside a scope the steps still label their calls."""
    with justitia.application("outer") as app:
        await Review().run(topic=QUESTION)
    assert labels(server) == ["read"] * 3 + ["join"]
    assert server.apps == {app.app_id}


async def test_application_ends_with_the_workflow(justitia_server: Any) -> None:
    """`run` returns at once; the server is told when the handler is done, awaited or not."""
    await model().acomplete("the server is known from now on")
    handler = Review().run(topic=QUESTION)
    assert justitia.current_application() is None
    assert justitia_server.finished() == []
    while not handler.is_done():
        assert justitia_server.finished() == []
        await asyncio.sleep(0.01)
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_interleaved_workflows_stay_apart(justitia_server: Any) -> None:
    """Two handlers in one task, each an application, each told once."""
    await asyncio.gather(*[Review().run(topic=topic) for topic in ("one", "two")])
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


async def test_a_workflow_outlives_the_scope_it_was_started_in(justitia_server: Any) -> None:
    """What runs on in the background says where it belongs, late as it is."""
    with justitia.application("outer") as app:
        handler = Review().run(topic=QUESTION)
    await handler
    assert justitia_server.apps == {app.app_id}
    assert len(justitia_server.hints) == 4


@pytest.mark.parametrize("way", ["cancel_run", "failure"])
async def test_a_broken_workflow_ends_its_application(justitia_server: Any, way: str) -> None:
    """Given up or failed, it is over."""
    await Short().run(topic="the server is known from now on")
    justitia_server.failures.append("hang" if way == "cancel_run" else 500)
    handler = Short().run(topic=QUESTION)
    if way == "cancel_run":
        await asyncio.to_thread(justitia_server.is_hanging.wait, 10.0)
        await handler.cancel_run()
    else:
        with pytest.raises(openai.InternalServerError):
            await handler
    assert handler.is_done()
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


async def test_twin_keeps_steps_that_are_functions(server: Any) -> None:
    """A step added to the class is a step of what `application` returns."""

    class Open(Workflow):
        @step
        async def begin(self, ev: StartEvent) -> Part:
            return Part(number=1)

    @step(workflow=Open)
    async def end(ev: Part) -> StopEvent:
        return StopEvent(result=str(await model().acomplete("end")))

    twin = integration.application(Open(), "short", input=QUESTION)
    for _ in range(2):
        assert await twin.run() == "hello"
    assert len(server.apps) == 2
    assert {hints.application.input for hints in server.hints} == {QUESTION}
    assert labels(server) == ["end", "end"]


async def test_workflow_in_a_workflow_is_part_of_it(server: Any) -> None:
    """The inner one's calls belong to the outer one, and to the step that runs it."""

    class Outer(Workflow):
        @step
        async def review(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=await Review().run(topic=QUESTION))

    await Outer().run()
    assert len(server.apps) == 1
    assert set(labels(server)) == {"review"}


# Agents


async def test_agents_that_hand_over_are_stages(justitia_server: Any) -> None:
    """Each agent labels its calls; together they are one application, planned beforehand."""
    justitia_server.replies.append(tool_call("handoff", to_agent="judge", reason="law"))
    agents = [
        FunctionAgent(name=name, description=name, llm=model(), can_handoff_to=others)
        for name, others in (("judge", []), ("clerk", ["judge"]))
    ]
    court = AgentWorkflow(agents=agents, root_agent="clerk")
    assert str(await court.run(QUESTION)) == "hello"
    assert justitia_server.stages == [("clerk", 0), ("judge", 1)]
    facts = justitia_server.hints[0].application
    assert (facts.type, facts.plan) == ("AgentWorkflow", integration.plan_of(court))
    assert facts.plan.stages[0] == justitia.Stage("clerk", calls=(1, 20))
    assert facts.plan.stages[1] == justitia.Stage("judge", calls=(0, 20))


async def test_names_of_several_lines_are_made_one(server: Any) -> None:
    """A label is one line."""
    await FunctionAgent(name="law\nexpert\n", llm=model()).run(QUESTION)
    facts = server.hints[0].application
    assert (facts.type, labels(server)) == ("law expert", ["law expert"])
    assert facts.plan.stages[0].name == "law expert"


async def test_react_agent_is_an_application(justitia_server: Any) -> None:
    """An agent that writes its tool calls as text is no different."""
    action = 'Thought: I look.\nAction: look\nAction Input: {"what": "clause 7"}'
    justitia_server.replies.extend([said(action), said("Thought: I know.\nAnswer: valid")])
    agent = ReActAgent(name="reader", tools=[look], llm=model())
    assert str(await agent.run(QUESTION)) == "valid"
    assert justitia_server.stages == [("reader", 0), ("reader", 0)]
    assert seen == list(justitia_server.apps)
    assert justitia_server.finished() == seen


async def test_tools_that_call_models_are_labelled_and_timed(justitia_server: Any) -> None:
    """A query engine as a tool: its calls belong to the run, at the tool's stage."""
    justitia_server.replies.append(tool_call("read", input="What of clause 7?"))
    tool = QueryEngineTool.from_defaults(engine(), name="read", description="Read the contract.")
    agent = FunctionAgent(name="lawyer", tools=[tool], llm=model())
    await agent.run(QUESTION)
    assert labels(justitia_server) == ["lawyer", "read", "lawyer"]
    assert len(justitia_server.apps) == 1
    justitia_server.finished()
    events = [each.body for each in justitia_server.requests if each.path.endswith("/events")]
    assert [(each["event"], each["name"]) for each in events] == [
        ("tool_start", "read"),
        ("tool_end", "read"),
    ]


def test_plan_of_an_agent_is_its_loop() -> None:
    """An agent without tools calls once; a workflow says nothing beforehand."""
    llm = OpenAILike(model="toy", api_key="key", is_function_calling_model=True)
    alone, busy = FunctionAgent(name="a", llm=llm), FunctionAgent(name="b", tools=[look], llm=llm)
    assert integration.plan_of(alone) == justitia.Plan((justitia.Stage("a", calls=(1, 1)),))
    assert integration.plan_of(busy) == justitia.Plan((justitia.Stage("b", calls=(1, 20)),))
    assert integration.plan_of(Review()) is None


# Queries


def test_query_is_an_application(justitia_server: Any) -> None:
    """A query engine's calls are those of one application, named after its class."""
    assert str(engine().query(QUESTION)) == "hello"
    assert labels(justitia_server) == ["synthesize"]
    facts = justitia_server.hints[0].application
    assert (facts.type, facts.input) == ("RetrieverQueryEngine", QUESTION)
    assert justitia_server.finished() == [facts.app]


def test_twin_needs_no_more_than_a_hinting_client(justitia_server: Any) -> None:
    """With the SDK's `instrument` alone its runs are applications, the engine's own are not."""
    integration.uninstrument()
    justitia.instrument()
    plain, twin = engine(), integration.application(engine(), "named")
    assert str(plain.query(QUESTION)) == "hello"
    assert justitia_server.hints == []
    assert str(twin.query(QUESTION)) == "hello"
    assert justitia_server.hints[0].application.type == "named"
    assert labels(justitia_server) == ["synthesize"]
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_twin_of_an_engine_is_one_application_a_query(justitia_server: Any) -> None:
    """Its inner spans are no parts of their own, and it streams as the engine does."""
    twin = integration.application(engine(streaming=True), "named")
    for answer in (twin.query(QUESTION), await twin.aquery(QUESTION)):
        assert justitia_server.hints == []
        if hasattr(answer, "async_response_gen"):
            assert "".join([part async for part in answer.async_response_gen()]) == "hello"
        else:
            assert str(answer) == "hello"
        assert labels(justitia_server) == ["synthesize"]
        assert justitia_server.hints[0].application.type == "named"
        assert justitia_server.finished() == list(justitia_server.apps)
        justitia_server.requests.clear()


async def test_asynchronous_query_fans_out_in_one_application(justitia_server: Any) -> None:
    """Calls made at once by a synthesizer belong together."""
    documents = [Document(text=f"Clause {number} stands.") for number in range(4)]
    index = SummaryIndex.from_documents(documents)
    synthesizer = get_response_synthesizer(
        llm=model(), response_mode=ResponseMode.ACCUMULATE, use_async=True
    )
    await index.as_query_engine(response_synthesizer=synthesizer, llm=model()).aquery(QUESTION)
    assert labels(justitia_server) == ["synthesize"] * 4
    assert justitia_server.finished() == list(justitia_server.apps)


def test_streamed_query_lasts_until_it_is_read(justitia_server: Any) -> None:
    """LlamaIndex calls the model when the answer is read, after `query` has returned."""
    model().complete("the server is known from now on")
    answer = engine(streaming=True).query(QUESTION)
    assert len(justitia_server.calls) == 1
    assert justitia_server.finished() == []
    assert justitia.current_application() is None
    first = next(answer.response_gen)
    assert justitia.current_application() is None
    assert justitia_server.finished() == []
    assert first + "".join(answer.response_gen) == "hello"
    assert labels(justitia_server) == ["synthesize"]
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_asynchronous_streamed_query_lasts_until_it_is_read(justitia_server: Any) -> None:
    """So does the asynchronous one."""
    await model().acomplete("the server is known from now on")
    answer = await engine(streaming=True).aquery(QUESTION)
    assert len(justitia_server.calls) == 1
    assert "".join([part async for part in answer.async_response_gen()]) == "hello"
    assert labels(justitia_server) == ["synthesize"]
    assert justitia_server.finished() == list(justitia_server.apps)


@pytest.mark.parametrize("is_begun", [False, True])
def test_abandoned_stream_ends_its_application(justitia_server: Any, is_begun: bool) -> None:
    """An answer that nobody reads to the end does not stay open."""
    transform = HyDEQueryTransform(llm=model())  # asks the model before the engine is queried
    answer: Any = TransformQueryEngine(engine(streaming=True), transform).query(QUESTION)
    if is_begun:
        next(answer.response_gen)
    assert len(justitia_server.hints) == 1 + is_begun
    assert justitia_server.finished() == []
    del answer
    gc.collect()
    assert justitia_server.finished() == list(justitia_server.apps)


def test_stream_of_an_open_application_keeps_its_scope(justitia_server: Any) -> None:
    """Read outside, it still says where it belongs."""
    with justitia.application("outer") as app:
        answer = engine(streaming=True).query(QUESTION)
    assert str(answer) == "hello"
    assert justitia_server.apps == {app.app_id}
    assert justitia_server.finished() == [app.app_id]


def test_streamed_chat_lasts_until_it_is_read(justitia_server: Any) -> None:
    """A chat engine's background thread keeps the application open, and in its scope."""
    model().complete("the server is known from now on")
    index = SummaryIndex.from_documents([Document(text="Clause 7 stands.")])
    chat = index.as_chat_engine(chat_mode="context", llm=model())
    answer = chat.stream_chat(QUESTION)
    assert "".join(answer.response_gen) == "hello"
    assert len(justitia_server.apps) == 1
    assert len(justitia_server.hints) == 1
    assert _ends(justitia_server) == list(justitia_server.apps)
    assert justitia_server.requests[-1].path.endswith("/finish")  # behind the call
    assert justitia_server.hints[0].application.type == "ContextChatEngine"


def _ends(server: Any) -> list[str]:
    """Return what `finished` does, when the thread that reads is through."""
    deadline = time.monotonic() + 5.0
    while not (ended := server.finished()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return list(ended)


# Clients and instrumentation


def test_models_made_before_are_covered(server: Any) -> None:
    """A model with a client of its own, made and used before `instrument`, sends hints after."""
    integration.uninstrument()
    early = model().model_copy(update={"reuse_client": True})
    early.complete("before")
    integration.instrument()
    with justitia.application("scope") as app:
        early.complete("after")
    assert [hints.application.app for hints in server.hints] == [app.app_id]


def test_tools_in_threads_keep_the_scope(justitia_server: Any) -> None:
    """Synchronous tools run in threads; what they ask belongs to the run."""

    def consult(what: str) -> str:
        """Consult a colleague."""
        return framework.ask(what)

    justitia_server.replies.append(tool_call("consult", what="clause 7"))
    agent = FunctionAgent(name="lawyer", tools=[consult], llm=model())
    asyncio_run(framework.arun(agent, QUESTION))
    assert labels(justitia_server) == ["lawyer", "consult", "lawyer"]
    assert len(justitia_server.apps) == 1


def test_dispatcher_is_left_as_it_was(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our span handler goes, the others stay, unless `application` still needs it."""
    root = get_dispatcher()
    monkeypatch.setattr(integration._spans, "has_twins", False)
    integration.uninstrument()
    before = list(root.span_handlers)
    integration.instrument()
    assert len(root.span_handlers) == len(before) + 1
    integration.uninstrument()
    assert root.span_handlers == before
    integration.application(engine(), "named")
    integration.uninstrument()
    assert len(root.span_handlers) == len(before) + 1


def test_nothing_is_kept_of_spans(server: Any) -> None:
    """Runs leave no memory behind."""
    for _ in range(3):
        engine().query(QUESTION)
        server.failures.append(500)
        with pytest.raises(openai.InternalServerError):
            engine().query(QUESTION)
    spans = integration._spans
    assert (spans.open_spans, spans.completed_spans, spans.dropped_spans) == ({}, [], [])


def test_page_runs(justitia_server: Any) -> None:
    """Every call on LlamaIndex's page is hinted, and every application's end is told."""
    page = Path(__file__).parents[2] / "docs" / "llama_index.md"
    integration.uninstrument()
    names: dict[str, Any] = {"__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    kinds = [hints.application.type for hints in justitia_server.hints]
    assert set(kinds) == {"clerk", "contract_review", "RetrieverQueryEngine", "support"}
    assert len(justitia_server.hints) == len(justitia_server.calls)
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
