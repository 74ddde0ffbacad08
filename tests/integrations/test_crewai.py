"""What is CrewAI's own: tasks in threads, crews for each input, managers, flows."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crewai import Crew, Flow, Process, Task
from crewai.flow import HumanFeedbackPending, human_feedback
from crewai.flow.flow import listen, start
from crewai.llms.providers.openai.completion import OpenAICompletion
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tools import BaseTool, tool
from pydantic import BaseModel

import justitia_integrations.crewai as integration
import justitia_sdk as justitia
from integrations.framework import Message, look, seen, tool_call
from integrations.frameworks.crewai import agent, framework, model, task

QUESTION = "Is clause 7 valid?"
INPUTS = {"question": QUESTION}


@pytest.fixture(autouse=True)
def _instrumented() -> Iterator[None]:
    integration.instrument()
    yield
    integration.uninstrument()


def labels(server: Any) -> list[str | None]:
    return [stage for stage, _ in server.stages]


def tool_events(server: Any) -> list[tuple[str, str]]:
    server.finished()  # all is sent
    bodies = [each.body for each in server.requests if each.path.endswith("/events")]
    return [(each["event"], each["name"]) for each in bodies if "tool" in each["event"]]


def said(content: str) -> Message:
    return {"role": "assistant", "content": content}


def consult(what: str) -> str:
    """Consult a colleague."""
    return framework.ask(what)


async def kick(crew: Any, way: str) -> Any:
    """Return what the crew comes to, started in one of CrewAI's ways."""
    if way == "kickoff":
        return await asyncio.to_thread(crew.kickoff, INPUTS)
    return await getattr(crew, way)(INPUTS)


WAYS = pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "akickoff"])


# Crews


def test_tasks_without_inputs_are_what_a_crew_works_on(server: Any) -> None:
    """The server learns what there is to do, where nothing is put in."""
    alone = agent()
    tasks = [Task(description=each, expected_output="text", agent=alone) for each in ("x", "y")]
    Crew(agents=[alone], tasks=tasks).kickoff()
    assert server.hints[0].application.input == "x\ny"


@WAYS
async def test_tasks_are_stages(justitia_server: Any, way: str) -> None:
    """A task's calls bear its name, else the role of its agent; the plan says so beforehand."""
    clerk, judge = agent("clerk"), agent("judge")
    tasks = [task(clerk, name="read"), task(judge)]
    crew = Crew(name="court", agents=[clerk, judge], tasks=tasks)
    assert str(await kick(crew, way)) == "hello"
    assert justitia_server.stages == [("read", 0), ("judge", 1)]
    facts = justitia_server.hints[0].application
    assert facts.type == "court"
    assert QUESTION in facts.input
    assert facts.plan == integration.plan_of(crew)
    assert justitia_server.finished() == [facts.app]


def test_stages_are_the_same_for_all_inputs(server: Any) -> None:
    """A role with a place for inputs labels calls as it is written, as in the plan."""
    expert = agent("{question} expert")
    crew = Crew(agents=[expert], tasks=[task(expert)])
    for question in ("law", "food"):
        crew.kickoff({"question": question})
    assert server.stages == [("{question} expert", 0)] * 2
    plans = [hints.application.plan for hints in server.hints]
    assert plans == [justitia.Plan((justitia.Stage("{question} expert", calls=(1, 1)),))] * 2


def test_names_of_several_lines_are_made_one(server: Any) -> None:
    """Roles and names out of YAML often end in a new line, which no label has."""
    expert = agent("law\nexpert\n")
    Crew(name="law\nfirm\n", agents=[expert], tasks=[task(expert)]).kickoff(INPUTS)
    expert.kickoff(QUESTION)
    assert labels(server) == ["law expert"] * 2
    facts = [hints.application for hints in server.hints]
    assert [each.type for each in facts] == ["law firm", "law expert"]
    assert [each.plan.stages[0].name for each in facts] == ["law expert"] * 2


@WAYS
async def test_asynchronous_tasks_keep_scope_and_stage(justitia_server: Any, way: str) -> None:
    """CrewAI runs them in threads of their own, or in tasks of the event loop."""
    readers = [agent(f"reader {number}") for number in range(3)]
    names = [f"part {number}" for number in range(3)]
    parts = [
        task(each, async_execution=True, name=name)
        for each, name in zip(readers, names, strict=True)
    ]
    judge = agent("judge")
    last = task(judge, context=parts, name="judge")
    crew = Crew(agents=[*readers, judge], tasks=[*parts, last])
    await kick(crew, way)
    assert sorted(map(str, labels(justitia_server))) == ["judge", *names]
    assert labels(justitia_server)[-1] == "judge"
    assert justitia_server.finished() == list(justitia_server.apps)


def test_time_limit_of_an_agent_keeps_the_scope(server: Any) -> None:
    """With a limit CrewAI runs the agent in yet another thread."""
    hasty = agent(max_execution_time=30)
    Crew(agents=[hasty], tasks=[task(hasty, name="answer")]).kickoff(INPUTS)
    assert labels(server) == ["answer"]
    assert len(server.apps) == 1


@pytest.mark.parametrize("way", ["kickoff_for_each", "kickoff_for_each_async"])
async def test_each_input_is_an_application(justitia_server: Any, way: str) -> None:
    """Of a crew run for many inputs, each is one; inside a scope they are one together."""
    alone = agent()
    crew = Crew(agents=[alone], tasks=[task(alone)])
    inputs = [{"question": f"Is clause {number} valid?"} for number in range(3)]

    async def run() -> None:
        if way == "kickoff_for_each":
            await asyncio.to_thread(crew.kickoff_for_each, inputs)
        else:
            await crew.kickoff_for_each_async(inputs)

    await run()
    said = {hints.application.app: hints.application.input for hints in justitia_server.hints}
    assert sorted(said.values()) == [str(each) for each in inputs]
    assert sorted(justitia_server.finished()) == sorted(said)
    justitia_server.requests.clear()
    with justitia.application("all") as app:
        await run()
    assert justitia_server.apps == {app.app_id}
    assert len(justitia_server.hints) == 3


def test_twin_is_one_for_each_input(server: Any) -> None:
    """`application(crew)` keeps its word for the copies that CrewAI makes."""
    alone = agent()
    twin = integration.application(Crew(agents=[alone], tasks=[task(alone)]), "quiz", weight=2.0)
    twin.kickoff_for_each([INPUTS, INPUTS])
    facts = [hints.application for hints in server.hints]
    assert [(each.type, each.weight) for each in facts] == [("quiz", 2.0)] * 2
    assert len(server.apps) == 2


def test_twin_needs_no_more_than_a_hinting_client(justitia_server: Any) -> None:
    """With the SDK's `instrument` alone its runs are applications, the crew's own are not."""
    integration.uninstrument()
    justitia.instrument()
    crew = framework.agent()
    for made in (crew, integration.application(crew, "quiz")):
        made.kickoff(INPUTS)
    assert [hints.application.type for hints in justitia_server.hints] == ["quiz"]
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_twin_runs_once_however_it_is_started(server: Any) -> None:
    """No way to start it makes a part of a part, which would be a stage."""
    alone = agent()
    twin = integration.application(Crew(agents=[alone], tasks=[task(alone, name="a")]), "quiz")
    for way in ("kickoff", "kickoff_async", "akickoff"):
        await kick(twin, way)
    assert len(server.apps) == 3
    assert labels(server) == ["a"] * 3


def test_managers_and_their_people_are_one_application(justitia_server: Any) -> None:
    """Work that is delegated belongs to the task; asking a colleague is no tool's time."""
    delegated = tool_call(
        "delegate_work_to_coworker", task="Read it.", context="Law.", coworker="clerk"
    )
    found = tool_call("look", what="clause 7")
    justitia_server.replies.extend([delegated, found, said("read"), said("done")])
    clerk = agent("clerk", tools=[tool("look")(look)])
    crew = Crew(
        name="firm",
        agents=[clerk],
        tasks=[task(None, name="review")],
        process=Process.hierarchical,
        manager_llm=model(),
    )
    assert integration.plan_of(crew) is None
    assert str(crew.kickoff(INPUTS)) == "done"
    assert labels(justitia_server) == ["review"] * 4
    assert len(justitia_server.apps) == 1
    assert tool_events(justitia_server) == [("tool_start", "look"), ("tool_end", "look")]
    assert justitia_server.finished() == list(justitia_server.apps) == seen


@pytest.mark.parametrize("way", ["kickoff", "kickoff_async", "akickoff"])
async def test_streamed_crew_is_an_application(justitia_server: Any, way: str) -> None:
    """A kickoff that streams returns at once; the run begins and ends as it is read."""
    alone = agent()
    crew = Crew(agents=[alone], tasks=[task(alone)], stream=True)
    for made in (crew, integration.application(crew, "quiz")):
        justitia_server.requests.clear()
        out = await getattr(made, way)(INPUTS) if way != "kickoff" else made.kickoff(INPUTS)
        assert justitia_server.calls == []
        if way == "kickoff":
            text = await asyncio.to_thread(lambda out=out: "".join(part.content for part in out))
        else:
            text = "".join([part.content async for part in out])
        assert text == "hello"
        assert len(justitia_server.hints) == 1
        assert justitia_server.finished() == list(justitia_server.apps)


@WAYS
async def test_failed_crew_ends_its_application(justitia_server: Any, way: str) -> None:
    """The failure is CrewAI's; the server hears of the end."""
    justitia_server.failures.append(500)
    alone = agent()
    crew = Crew(agents=[alone], tasks=[task(alone)])
    with pytest.raises(Exception, match="as told"):
        await kick(crew, way)
    assert len(justitia_server.hints) == 1
    assert justitia_server.finished() == list(justitia_server.apps)


# Tools


@pytest.mark.parametrize("num_calls", [1, 3])
def test_tools_that_call_models_are_part_of_the_task(justitia_server: Any, num_calls: int) -> None:
    """Tools that run at once do so in threads, in the scope and stage of the task."""
    calls = tool_call("consult", what="clause 7")
    calls["tool_calls"] = [{**calls["tool_calls"][0], "id": str(n)} for n in range(num_calls)]
    justitia_server.replies.append(calls)
    lawyer = agent(tools=[tool("consult")(consult)])
    Crew(agents=[lawyer], tasks=[task(lawyer, name="answer")]).kickoff(INPUTS)
    assert labels(justitia_server) == ["answer"] * (num_calls + 2)
    assert len(justitia_server.apps) == 1
    names = [("tool_end", "consult"), ("tool_start", "consult")]
    assert sorted(tool_events(justitia_server)) == sorted(names * num_calls)


class Look(BaseTool):
    """A tool that is a class."""

    name: str = "look"
    description: str = "Look something up."

    def _run(self, what: str) -> str:
        return look(what)


def test_tools_that_are_classes_are_reported(justitia_server: Any) -> None:
    """It makes no difference how a tool was made."""
    justitia_server.replies.extend(framework.agent_replies)
    lawyer = agent(tools=[Look()])
    Crew(agents=[lawyer], tasks=[task(lawyer)]).kickoff(INPUTS)
    assert tool_events(justitia_server) == [("tool_start", "look"), ("tool_end", "look")]


class Plain(OpenAICompletion):
    """A model that can call no functions: CrewAI reads its actions from the text."""

    def supports_function_calling(self) -> bool:
        return False


def test_tools_written_as_text_are_reported(justitia_server: Any) -> None:
    """An agent that writes `Action: look` uses tools as well."""
    action = 'Thought: I look.\nAction: look\nAction Input: {"what": "clause 7"}'
    justitia_server.replies.extend([said(action), said("Thought: ok\nFinal Answer: valid")])
    llm = Plain(model="toy", base_url=justitia_server.base_url, api_key="key", max_retries=0)
    lawyer = agent(llm=llm, tools=[tool("look")(look)])
    assert str(Crew(agents=[lawyer], tasks=[task(lawyer)]).kickoff(INPUTS)) == "valid"
    assert tool_events(justitia_server) == [("tool_start", "look"), ("tool_end", "look")]
    assert seen == list(justitia_server.apps)


# Agents, tasks and flows


@pytest.mark.parametrize("way", ["kickoff", "awaited", "kickoff_async", "akickoff"])
async def test_agent_alone_is_an_application(justitia_server: Any, way: str) -> None:
    """Without a crew, under its role, however it is started."""
    lawyer = agent(tools=[tool("look")(look)])
    for made in (lawyer, integration.application(lawyer, "lawyer")):
        justitia_server.requests.clear()
        justitia_server.replies.append(tool_call("look", what="clause 7"))
        if way == "kickoff":
            out: Any = await asyncio.to_thread(made.kickoff, QUESTION)
        else:  # called within a loop, `kickoff` returns what is to be awaited
            out = await getattr(made, way.replace("awaited", "kickoff"))(QUESTION)
        assert out.raw == "hello"
        (facts,) = {hints.application for hints in justitia_server.hints}
        assert (facts.type, facts.input) == ("lawyer", QUESTION)
        assert facts.plan == justitia.Plan((justitia.Stage("lawyer", calls=(1, 25)),))
        assert labels(justitia_server) == ["lawyer"] * 2
        assert justitia_server.finished() == [facts.app]


def test_task_alone_is_an_application(server: Any) -> None:
    """A task that is run without a crew is its agent's application."""
    Task(description="Answer.", expected_output="text", agent=agent(), name="a").execute_sync()
    assert server.hints[0].application.type == "lawyer"


class Review(Flow[dict[str, Any]]):
    """Two methods at once, one of them with a crew, then one that joins."""

    @start()
    def read(self) -> str:
        alone = agent()
        return str(Crew(agents=[alone], tasks=[task(alone, name="inner")]).kickoff(INPUTS))

    @start()
    async def ask(self) -> str:
        return await framework.aask("hi")

    @listen(read)
    def join(self, read: str) -> str:
        self.state["joined"] = f"{read} {framework.ask('hi')}"
        return str(self.state["joined"])


@WAYS
async def test_flow_methods_are_stages(justitia_server: Any, way: str) -> None:
    """Methods in threads and tasks, and crews in them, are one application."""
    assert await kick(Review(), way) == "hello hello"
    assert sorted(map(str, labels(justitia_server))) == ["ask", "join", "read"]
    (facts,) = {hints.application for hints in justitia_server.hints}
    assert facts.type == "Review"
    assert QUESTION in facts.input
    assert justitia_server.finished() == [facts.app]


class Facts(BaseModel):
    """The state of a flow, checked by CrewAI, which makes it anew for each run's inputs."""

    question: str = ""
    answer: str = ""


class Typed(Flow[Facts]):
    """Has a state of its own type."""

    @start()
    def ask(self) -> str:
        self.state.answer = framework.ask(self.state.question)
        return self.state.question


def test_twin_of_a_flow_works_on_its_typed_state(server: Any) -> None:
    """What goes in reaches the flow's methods, and what they note is found in both."""
    flow = Typed()
    twin = integration.application(flow, "named")
    assert twin.kickoff(INPUTS) == QUESTION
    assert flow.state.answer == twin.state.answer == "hello"
    assert server.hints[0].application.type == "named"


async def test_flow_and_its_twin_share_the_state(server: Any) -> None:
    """The twin runs the flow's own methods, each run an application."""
    flow = Review()
    twin = integration.application(flow, "named")
    for way in ("kickoff", "akickoff"):
        assert await kick(twin, way) == "hello hello"
        assert flow.state["joined"] == twin.state["joined"] == "hello hello"
    assert {hints.application.type for hints in server.hints} == {"named"}
    assert len(server.apps) == 2


class Later:
    """Asks a person who will answer some other day."""

    def request_feedback(self, context: Any, flow: Any) -> str:
        raise HumanFeedbackPending(context=context)


class Approval(Flow[dict[str, Any]]):
    """Waits for a person between two calls."""

    @start()
    @human_feedback(message="Good?", provider=Later())
    def draft(self) -> str:
        return framework.ask("draft")

    @listen(draft)
    def send(self) -> str:
        return framework.ask("send")


def test_resumed_flow_is_an_application(justitia_server: Any) -> None:
    """A flow that waits is over for the server; taken up again it is another application."""
    pending = Approval().kickoff()
    assert isinstance(pending, HumanFeedbackPending)
    (first,) = justitia_server.finished()
    assert Approval.from_pending(pending.context.flow_id).resume("yes") == "hello"
    assert labels(justitia_server) == ["draft", "send"]
    assert len(justitia_server.apps) == 2
    assert justitia_server.finished() == [hint.application.app for hint in justitia_server.hints]
    assert first == justitia_server.hints[0].application.app


# Plans and instrumentation


def test_plan_is_a_stage_a_task(server: Any) -> None:
    """Loops where there are tools; a conditional task may be left out; equal names are one."""
    busy, alone = agent("busy", tools=[tool("look")(look)], max_iter=7), agent("alone")
    condition = ConditionalTask(
        description="x", expected_output="y", agent=alone, name="maybe", condition=lambda _: True
    )
    tasks = [task(busy), task(alone), condition, task(alone)]
    assert integration.plan_of(Crew(agents=[busy, alone], tasks=tasks)) == justitia.Plan(
        (
            justitia.Stage("busy", calls=(1, 7)),
            justitia.Stage("alone", calls=(2, 2)),
            justitia.Stage("maybe", calls=(0, 1)),
        )
    )
    assert integration.plan_of(Review()) is None


def test_crews_made_before_are_covered(justitia_server: Any) -> None:
    """A crew made and used before `instrument` sends hints and reports tools after."""
    integration.uninstrument()
    crew = framework.agent()
    justitia_server.replies.extend([*framework.agent_replies, said("hello")])
    crew.kickoff(INPUTS)
    assert justitia_server.hints == []
    integration.instrument()
    justitia_server.replies.extend(framework.agent_replies)
    crew.kickoff(INPUTS)
    assert labels(justitia_server) == ["answer", "answer"]
    assert tool_events(justitia_server) == [("tool_start", "look"), ("tool_end", "look")]


@pytest.mark.parametrize("is_async", [False, True])
def test_streamed_model_calls_carry_hints(server: Any, is_async: bool) -> None:
    """A model that streams is no different for the server."""
    with justitia.application("scope") as app:
        asyncio.run(framework.astream("hi")) if is_async else framework.stream("hi")
    assert server.calls[0].body["stream"] is True
    assert server.apps == {app.app_id}


def test_page_runs(justitia_server: Any) -> None:
    """Every call on CrewAI's page is hinted, and every application's end is told."""
    page = Path(__file__).parents[2] / "docs" / "crewai.md"
    integration.uninstrument()
    names: dict[str, Any] = {"__name__": page.stem}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    kinds = {hints.application.type for hints in justitia_server.hints}
    assert kinds == {"law_firm", "contract_review", "support"}
    assert len(justitia_server.hints) == len(justitia_server.calls)
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
