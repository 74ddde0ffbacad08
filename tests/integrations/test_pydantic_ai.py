"""What is special to PydanticAI: streams, `iter`, delegation, overrides, kinds of tools."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests, ImageUrl, ModelRetry
from pydantic_ai.agent import WrapperAgent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.toolsets import FunctionToolset

import justitia_sdk as justitia
from integrations.framework import look, seen, tool_call
from integrations.frameworks.pydantic_ai import model as chat_model
from integrations.frameworks.pydantic_ai import own_loop
from justitia_integrations import pydantic_ai

ROOT = Path(__file__).parents[2]
MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    yield
    pydantic_ai.uninstrument()


@pytest.fixture(autouse=True)
def _responses(_http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server speak the Responses API too, as the SDK's own does."""
    handler = _http_server.RequestHandlerClass
    monkeypatch.setattr(handler, "do_POST", handler.__mro__[1].do_POST)


@pytest.fixture
def instrumented() -> None:
    pydantic_ai.instrument()


@pytest.fixture
async def client(server: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        yield client


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, client: openai.AsyncOpenAI) -> Any:
    return MODELS[request.param]("toy", provider=OpenAIProvider(openai_client=client))


async def by_run(agent: Any, prompt: Any = "hi", **options: Any) -> str:
    return str((await agent.run(prompt, **options)).output)


async def by_run_stream(agent: Any, prompt: Any = "hi", **options: Any) -> str:
    async with agent.run_stream(prompt, **options) as result:
        return str(await result.get_output())


async def by_events(agent: Any, prompt: Any = "hi", **options: Any) -> str:
    async with agent.run_stream_events(prompt, **options) as events:
        *_, last = [event async for event in events]
    return str(last.result.output)


async def by_iter(agent: Any, prompt: Any = "hi", **options: Any) -> str:
    async with agent.iter(prompt, **options) as run:
        async for _ in run:
            pass
    return str(run.result.output)


WAYS = pytest.mark.parametrize("go", [by_run, by_run_stream, by_events, by_iter])


def stages(server: Any) -> list[str | None]:
    return [name for name, _ in server.stages]


def events(server: Any) -> list[tuple[str, str]]:
    told = [request.body for request in server.told("events")]
    return [(each["event"], each["name"]) for each in told]


def two_calls(name: str) -> dict[str, Any]:
    """Return the answer of a model that calls a tool twice."""
    calls = [tool_call(name, what=what)["tool_calls"][0] for what in ("x", "y")]
    calls = [{**call, "id": f"call_{number}"} for number, call in enumerate(calls)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


# Every way to run


@WAYS
async def test_every_way_to_run_is_an_application(
    justitia_server: Any, instrumented: None, model: Any, go: Any
) -> None:
    """Named after the agent, with its prompt; told of when it ends; whichever API is spoken."""
    assert await go(Agent(model, name="clerk")) == "hello"
    assert justitia.current_application() is None
    (hints,) = justitia_server.hints
    assert (hints.application.type, hints.application.input) == ("clerk", "hi")
    assert hints.call.stage == "clerk"
    assert justitia_server.finished() == [hints.application.app]


@WAYS
async def test_every_way_to_run_keeps_tools_inside(
    justitia_server: Any, instrumented: None, model: Any, go: Any
) -> None:
    """Turns and tools of a run are one application."""
    justitia_server.replies.append(tool_call("look", what="x"))
    assert await go(Agent(model, name="clerk", tools=[look])) == "hello"
    assert len(justitia_server.hints) == 2
    assert set(seen) == justitia_server.apps
    assert len(justitia_server.apps) == 1
    assert events(justitia_server) == [("tool_start", "look"), ("tool_end", "look")]


def test_streaming_without_await(justitia_server: Any, instrumented: None) -> None:
    """`run_stream_sync` is one too, which ends with its block."""
    client = openai.AsyncOpenAI(max_retries=0)
    with own_loop() as loop:
        agent = Agent(chat_model(client), name="clerk")
        with agent.run_stream_sync("hi") as result:
            assert "".join(result.stream_text(delta=True)) == "hello"
            assert justitia_server.finished() == []
        loop.run_until_complete(client.close())
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_calls_within_the_block_are_parts(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Inside ``async with agent.iter(…)`` the run's application is open."""
    async with Agent(chat_model(client), name="clerk").iter("hi") as run:
        said: Any = [{"role": "user", "content": "and I?"}]
        await client.chat.completions.create(model="toy", messages=said)
        async for _ in run:
            pass
    assert len(server.hints) == 2
    assert len(server.apps) == 1


async def test_runs_at_once_stay_apart(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Streams in two tasks are two applications."""
    agents = [Agent(chat_model(client), name=name) for name in "ab"]
    await asyncio.gather(*(by_run_stream(agent) for agent in agents))
    assert sorted(hints.application.type for hints in server.hints) == ["a", "b"]
    assert len(server.apps) == 2


async def test_decorated_generator_keeps_the_scope_inside(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Whoever reads a generator that yields out of a run is in no application."""

    @justitia.application("words")
    async def words() -> AsyncIterator[str]:
        async with Agent(chat_model(client), name="clerk").run_stream("hi") as result:
            async for part in result.stream_text(delta=True, debounce_by=None):
                yield part

    async for _ in words():
        assert justitia.current_application() is None
    assert [hints.application.type for hints in justitia_server.hints] == ["words"]
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_stream_that_is_left_ends(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Whoever has read enough ends the application."""
    async with Agent(chat_model(client), name="clerk").run_stream_events("hi") as stream:
        async for _ in stream:
            break
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_run_that_fails_ends(justitia_server: Any, instrumented: None, model: Any) -> None:
    """The failure is PydanticAI's own, and the application ends."""
    justitia_server.failures.append(500)
    with pytest.raises(ModelHTTPError):
        await by_run(Agent(model, name="clerk"))
    assert justitia_server.finished() == list(justitia_server.apps)


# Clients and models


async def test_model_made_before_instrument(server: Any, model: Any) -> None:
    """It hints from `instrument` to `uninstrument`."""
    agent = Agent(model, name="clerk")
    await by_run(agent)
    assert server.hints == []
    pydantic_ai.instrument()
    await by_run(agent)
    pydantic_ai.uninstrument()
    await by_run(agent)
    assert (len(server.hints), len(server.calls)) == (1, 3)


async def test_override_reaches_both_twins(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """`agent.override` works on what `application` returned, and through it."""
    agent = Agent(TestModel(), name="clerk")
    twin = pydantic_ai.application(agent, "triage")
    with agent.override(model=chat_model(client)):
        assert await by_run(twin) == "hello"
    with twin.override(model=chat_model(client)):
        assert await by_run(agent) == "hello"
    assert [hints.application.type for hints in server.hints] == ["triage", "clerk"]


async def test_headers_of_ones_own_stay(server: Any, instrumented: None, model: Any) -> None:
    """Headers in the settings travel beside the hints."""
    await by_run(Agent(model, name="clerk"), model_settings={"extra_headers": {"x-run": "1"}})
    (call,) = server.calls
    assert call.headers["x-run"] == "1"
    assert call.hints is not None


# Tools


@WAYS
async def test_delegation_is_a_part(
    justitia_server: Any, instrumented: None, model: Any, go: Any
) -> None:
    """An agent run by a tool is labelled with its own name, in the same application."""
    expert = Agent(model, name="expert")
    clerk = Agent(model, name="clerk")

    @clerk.tool_plain
    async def ask_expert() -> str:
        """Ask."""
        return await by_run(expert)

    justitia_server.replies.append(tool_call("ask_expert"))
    with justitia.application("outer") as app:
        assert await go(clerk) == "hello"
    assert stages(justitia_server) == ["clerk", "expert", "clerk"]
    assert justitia_server.apps == {app.app_id}


@WAYS
async def test_parallel_tools(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI, go: Any
) -> None:
    """Each is reported; calls that tools make are the application's, but not the agent's."""

    async def ask(what: str) -> str:
        """Ask somebody."""
        said: Any = [{"role": "user", "content": what}]
        await client.chat.completions.create(model="toy", messages=said)
        return look(what)

    justitia_server.replies.append(two_calls("ask"))
    assert await go(Agent(chat_model(client), name="clerk", tools=[ask])) == "hello"
    assert stages(justitia_server) == ["clerk", None, None, "clerk"]
    assert set(seen) == justitia_server.apps
    told = [("tool_end", "ask")] * 2 + [("tool_start", "ask")] * 2
    assert sorted(events(justitia_server)) == told


async def test_stage_of_a_tool_is_kept(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """A stage that is opened in a tool labels the agent and the tools it runs."""
    expert = Agent(chat_model(client), name="expert", tools=[look])
    clerk = Agent(chat_model(client), name="clerk")

    @clerk.tool_plain
    async def ask_expert() -> str:
        """Ask."""
        application = justitia.current_application()
        assert application is not None
        with application.stage("by hand"):
            return await by_run(expert)

    server.replies.extend([tool_call("ask_expert"), tool_call("look", what="x")])
    assert await by_run(clerk) == "hello"
    assert stages(server) == ["clerk", "by hand", "by hand", "clerk"]


class Answer(BaseModel):
    """A structured answer."""

    what: str


async def test_output_is_no_tool(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Structured output that comes by way of a tool call takes no tool's time."""
    justitia_server.replies.append(tool_call("final_result", what="x"))
    agent = Agent(chat_model(client), name="clerk", output_type=Answer)
    assert (await agent.run("hi")).output == Answer(what="x")
    assert len(justitia_server.hints) == 1
    assert events(justitia_server) == []


async def test_output_that_is_sent_back(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Another try is another call of the same application and stage."""
    agent = Agent(chat_model(client), name="clerk")

    @agent.output_validator
    def check(output: str) -> str:
        if len(server.calls) < 2:
            raise ModelRetry("Again.")
        return output

    assert await by_run(agent) == "hello"
    assert stages(server) == ["clerk", "clerk"]
    assert len({hints.call.call for hints in server.hints}) == 2
    assert len(server.apps) == 1


async def test_tool_that_waits_for_approval_takes_no_time(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """What is put off before it begins is not reported."""
    agent: Any = Agent(chat_model(client), name="clerk", output_type=[str, DeferredToolRequests])
    agent.tool_plain(look, requires_approval=True)
    justitia_server.replies.append(tool_call("look", what="x"))
    assert isinstance((await agent.run("hi")).output, DeferredToolRequests)
    assert events(justitia_server) == []


async def test_call_that_is_turned_down_takes_no_time(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Nor is what the model got wrong, and what its check puts off."""
    wrong, put_off = tool_call("look", where="x"), tool_call("look", what="y")
    justitia_server.replies.extend([wrong, put_off])
    agent: Any = Agent(chat_model(client), name="clerk", output_type=[str, DeferredToolRequests])

    def check(_context: Any, what: str) -> None:
        raise ApprovalRequired

    agent.tool_plain(look, args_validator=check)
    assert isinstance((await agent.run("hi")).output, DeferredToolRequests)
    assert len(justitia_server.calls) == 2
    assert events(justitia_server) == []


# Names, prompts, plans


async def test_name_is_inferred_as_ever(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """An agent without a name gets that of its variable, where PydanticAI finds it."""
    clerk: Any = Agent(chat_model(client))
    await clerk.run("hi")
    assert clerk.name == "clerk"
    assert server.hints[0].application.type == "clerk"
    unnamed: Any = Agent(chat_model(client))
    await by_iter(unnamed)
    assert server.hints[1].application.type == pydantic_ai.UNNAMED


async def test_name_that_cannot_be_sent(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """An agent may be called anything."""
    assert await by_run(Agent(chat_model(client), name="a\nclerk " + "x" * 200)) == "hello"
    assert server.hints[0].application.type.startswith("a clerk xxx")


async def test_text_of_a_prompt_is_the_input(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """Pictures and the like are left out."""
    prompt = ["What is this?", ImageUrl("http://127.0.0.1/x.png")]
    await by_run(Agent(chat_model(client), name="clerk"), prompt)
    assert server.hints[0].application.input == "What is this?"


async def test_plan_of_an_agent_that_only_answers(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """One call, which goes out; with tools or typed output the number is the model's choice."""
    agent = Agent(chat_model(client), name="clerk")
    plan = justitia.Plan((justitia.Stage("clerk"),))
    assert pydantic_ai.plan_of(agent) == plan
    await by_run(agent)
    await by_run(agent, toolsets=[FunctionToolset([look])])
    with agent.override(tools=[look]):
        await by_run(agent)
    assert [hints.application.plan for hints in server.hints] == [plan, None, None]
    assert pydantic_ai.plan_of(Agent(name="a", tools=[look])) is None
    assert pydantic_ai.plan_of(Agent(name="a", output_type=Answer)) is None
    assert pydantic_ai.plan_of("clerk") is None
    agent.output_validator(lambda text: text)
    assert pydantic_ai.plan_of(agent) is None


# `application(agent)`


@WAYS
async def test_application_runs_every_way(
    justitia_server: Any, client: openai.AsyncOpenAI, go: Any
) -> None:
    """Each run is one of its own, with what was said of it; a client that hints is enough."""
    justitia.instrument(client)
    agent = Agent(chat_model(client), name="clerk")
    twin = pydantic_ai.application(agent, "triage", deadline_s=9.0, input="it")
    for _ in range(2):
        await go(twin)
    await go(agent)
    assert len(justitia_server.calls) == 3
    assert len(justitia_server.apps) == len(justitia_server.hints) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    facts = justitia_server.hints[0].application
    assert (facts.type, facts.deadline_s, facts.input) == ("triage", 9.0, "it")


async def test_application_is_instrumented_later(server: Any, client: openai.AsyncOpenAI) -> None:
    """Labels and tools come with `instrument`, whichever was first."""
    twin = pydantic_ai.application(Agent(chat_model(client), name="clerk", tools=[look]), "triage")
    pydantic_ai.instrument()
    server.replies.append(tool_call("look", what="x"))
    assert await by_run(twin) == "hello"
    assert stages(server) == ["clerk", "clerk"]
    assert set(seen) == server.apps


async def test_wrapped_agent_is_an_application(
    server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """So is an agent around another, by itself and when it was asked for."""
    wrapped = WrapperAgent(Agent(chat_model(client), name="clerk"))
    await by_run(wrapped)
    await by_run(pydantic_ai.application(wrapped, "triage"))
    assert [hints.application.type for hints in server.hints] == ["clerk", "triage"]
    assert len(server.apps) == 2


async def test_unknown_internals_cost_reports_only(
    server: Any,
    client: openai.AsyncOpenAI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a version that is built otherwise, runs are still applications; one warning says so."""
    monkeypatch.setattr(pydantic_ai, "_TOOLS", "pydantic_ai.elsewhere")
    pydantic_ai.instrument()
    pydantic_ai.instrument()
    assert [record.message for record in caplog.records] == ["tools_without_reports"]
    assert await by_run(Agent(chat_model(client), name="clerk")) == "hello"
    assert server.hints[0].application.type == "clerk"


def test_page_runs(justitia_server: Any) -> None:
    """The page runs as it stands: its calls are hinted, its applications' ends are told."""
    page = ROOT / "docs" / "pydantic_ai.md"
    names: dict[str, Any] = {"__name__": page.stem}
    with own_loop():
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            exec(compile(block, page.name, "exec"), names)
    types = [hints.application.type for hints in justitia_server.hints]
    assert types == ["clerk", "contract_review", "contract_review", "clause_check"]
    assert len(justitia_server.finished()) == 3


@pytest.mark.live
def test_example_runs(live_url: str) -> None:
    """The example runs as a user would run it; the server's books say what it was."""
    before = {each["id"] for each in applications(live_url)}
    command = [sys.executable, str(ROOT / "examples" / "pydantic_ai_extract.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    new = [each for each in applications(live_url) if each["id"] not in before]
    assert sorted(each["type"] for each in new) == ["court_letter", *["letter"] * 3]
    assert [each["calls"]["done"] for each in new] == [1] * 4
    assert [each["weight"] for each in new if each["type"] == "court_letter"] == [2.0]
    assert {each["state"] for each in new} == {"finished"}


def applications(live_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=10) as response:
        found = json.load(response)["data"]
    return [each for each in found if each["type"] in {"letter", "court_letter"}]
