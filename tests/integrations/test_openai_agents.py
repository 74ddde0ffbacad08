"""What is special to the OpenAI Agents SDK: both APIs, handoffs, streamed runs, kinds of tools."""

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
from agents import (
    Agent,
    CustomTool,
    GuardrailFunctionOutput,
    Model,
    ModelResponse,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIProvider,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    Usage,
    UserError,
    function_tool,
    input_guardrail,
    set_default_openai_client,
)
from openai.types.responses import ResponseCustomToolCall

import justitia_sdk as justitia
from integrations.framework import look, seen, tool_call
from integrations.frameworks.openai_agents import own_loop
from justitia_integrations import openai_agents

ROOT = Path(__file__).parents[2]
MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    yield
    openai_agents.uninstrument()


@pytest.fixture(autouse=True)
def _responses(_http_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server speak the Responses API too, as the SDK's own does."""
    handler = _http_server.RequestHandlerClass
    monkeypatch.setattr(handler, "do_POST", handler.__mro__[1].do_POST)


@pytest.fixture
def instrumented() -> None:
    openai_agents.instrument()


@pytest.fixture
async def client(server: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(max_retries=0) as client:
        yield client


@pytest.fixture(params=MODELS)
def config(request: pytest.FixtureRequest, client: openai.AsyncOpenAI) -> RunConfig:
    return RunConfig(model=MODELS[request.param]("toy", client), tracing_disabled=True)


async def run(agent: Agent[Any], config: RunConfig) -> str:
    return str((await Runner.run(agent, "hi", run_config=config)).final_output)


async def stream(agent: Agent[Any], config: RunConfig) -> str:
    result = Runner.run_streamed(agent, "hi", run_config=config)
    async for _ in result.stream_events():
        pass
    return str(result.final_output)


RUNS = pytest.mark.parametrize("go", [run, stream])


def handoff(name: str) -> dict[str, Any]:
    """Return the answer of a model that hands over to another agent."""
    (call,) = tool_call(f"transfer_to_{name}")["tool_calls"]
    return {"role": "assistant", "content": None, "tool_calls": [{**call, "id": "call_0"}]}


def two_calls(name: str) -> dict[str, Any]:
    """Return the answer of a model that calls a tool twice."""
    calls = [tool_call(name, what=what)["tool_calls"][0] for what in ("x", "y")]
    calls = [{**call, "id": f"call_{number}"} for number, call in enumerate(calls)]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def stages(server: Any) -> list[str | None]:
    return [name for name, _ in server.stages]


def events(server: Any) -> list[tuple[str, str]]:
    told = [request.body for request in server.told("events")]
    return [(each["event"], each["name"]) for each in told]


# Both APIs, any client


@RUNS
async def test_both_apis_carry_hints(
    justitia_server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """A run is an application of the agent's name, whichever API its model speaks."""
    assert await go(Agent(name="clerk"), config) == "hello"
    (hints,) = justitia_server.hints
    assert hints.application.type == "clerk"
    assert hints.application.input == "hi"
    assert hints.call.stage == "clerk"
    assert justitia_server.finished() == [hints.application.app]


async def test_default_client_is_covered_whenever_it_was_made(
    server: Any, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK keeps a client for the process: it hints from `instrument` to `uninstrument`."""
    monkeypatch.setattr("agents.models._openai_shared._default_openai_client", None)
    set_default_openai_client(client, use_for_tracing=False)
    agent = Agent(name="clerk", model="toy")
    config = RunConfig(tracing_disabled=True)
    await run(agent, config)
    assert server.hints == []
    openai_agents.instrument()
    await run(agent, config)
    await run(agent, RunConfig(model_provider=OpenAIProvider(), tracing_disabled=True))
    assert len(server.hints) == 2
    openai_agents.uninstrument()
    await run(agent, config)
    assert (len(server.hints), len(server.calls)) == (2, 4)


async def test_headers_of_ones_own_stay(server: Any, instrumented: None, config: RunConfig) -> None:
    """Headers in a run's settings replace the agent's, as ever; hints travel beside them."""
    config.model_settings = ModelSettings(extra_headers={"x-run": "1"})
    await run(Agent(name="clerk"), config)
    (call,) = server.calls
    assert call.headers["x-run"] == "1"
    assert call.hints is not None


# Who speaks


@RUNS
async def test_handoff_changes_the_stage(
    server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """The stage is the agent whose turn it is; all are one application."""
    billing = Agent(name="billing", tools=[function_tool(look)])
    triage = Agent(name="triage", handoffs=[billing])
    server.replies.extend([handoff("billing"), tool_call("look", what="bill")])
    assert await go(triage, config) == "hello"
    assert server.stages == [("triage", 0), ("billing", 1), ("billing", 1)]
    assert len(server.apps) == 1
    assert server.hints[0].application.type == "triage"


@RUNS
async def test_agent_as_a_tool_is_a_part(
    justitia_server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """Its calls are labelled with it, and its time is not reported as a tool's."""
    expert = Agent(name="expert", model=config.model)
    tool = expert.as_tool("ask_expert", "Ask.", run_config=config)
    justitia_server.replies.append(tool_call("ask_expert", input="why?"))
    with justitia.application("outer") as app:
        assert await go(Agent(name="clerk", tools=[tool]), config) == "hello"
    assert stages(justitia_server) == ["clerk", "expert", "clerk"]
    assert justitia_server.apps == {app.app_id}
    assert events(justitia_server) == []


@RUNS
async def test_guardrail_is_a_part(
    server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """A guardrail that asks a model belongs to the run it guards."""
    guard = Agent(name="guard")

    @input_guardrail
    async def is_polite(_context: Any, _agent: Any, _input: Any) -> GuardrailFunctionOutput:
        await run(guard, config)
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    assert await go(Agent(name="clerk", input_guardrails=[is_polite]), config) == "hello"
    assert sorted(stages(server)) == ["clerk", "guard"]
    assert len(server.apps) == 1


# Tools


@RUNS
async def test_parallel_tools(
    justitia_server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """Each is reported; calls that tools make are the application's, but not the agent's."""

    async def ask(what: str) -> str:
        """Ask somebody."""
        async with openai.AsyncOpenAI() as client:
            said: Any = {"role": "user", "content": what}
            await client.chat.completions.create(model="toy", messages=[said])
        return look(what)

    justitia_server.replies.append(two_calls("ask"))
    assert await go(Agent(name="clerk", tools=[function_tool(ask)]), config) == "hello"
    assert stages(justitia_server) == ["clerk", None, None, "clerk"]
    assert set(seen) == justitia_server.apps
    assert (
        sorted(events(justitia_server)) == [("tool_end", "ask")] * 2 + [("tool_start", "ask")] * 2
    )


class OneCustomCall(Model):
    """A model that is not OpenAI's: it calls a custom tool, and then hands over to another."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._has_called = False

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        response = await self._model.get_response(*args, **kwargs)
        if self._has_called:
            return response
        self._has_called = True
        call = ResponseCustomToolCall(
            call_id="call_1", input="x", name="shout", type="custom_tool_call"
        )
        return ModelResponse(output=[call], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        raise NotImplementedError


async def test_native_tools_are_reported(
    justitia_server: Any, instrumented: None, client: openai.AsyncOpenAI
) -> None:
    """So are tools that are no functions, whatever the model is."""

    async def shout(_context: Any, text: str) -> str:
        return text.upper()

    tool = CustomTool(name="shout", description="Shout.", on_invoke_tool=shout)
    model = OneCustomCall(OpenAIResponsesModel("toy", client))
    config = RunConfig(model=model, tracing_disabled=True)
    assert await run(Agent(name="clerk", tools=[tool]), config) == "hello"
    assert stages(justitia_server) == ["clerk", "clerk"]
    assert events(justitia_server) == [("tool_start", "shout"), ("tool_end", "shout")]


# Streamed runs


async def test_streamed_application_ends_with_the_run(
    justitia_server: Any, instrumented: None, config: RunConfig
) -> None:
    """`run_streamed` returns at once: the application is the run's, not the caller's."""
    justitia_server.replies.append(tool_call("look", what="x"))
    agent = Agent(name="clerk", tools=[function_tool(look)])
    result = Runner.run_streamed(agent, "hi", run_config=config)
    assert justitia.current_application() is None
    assert justitia_server.finished() == []
    async for _ in result.stream_events():
        assert justitia.current_application() is None
        if justitia_server.calls[1:]:
            break
        assert justitia_server.finished() == []
    assert result.run_loop_task is not None
    await result.run_loop_task
    assert len(justitia_server.hints) == 2
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_streamed_runs_at_once_stay_apart(
    server: Any, instrumented: None, config: RunConfig
) -> None:
    """Two streams read in turn by one task are two applications."""
    runs = [Runner.run_streamed(Agent(name=name), "hi", run_config=config) for name in "ab"]
    streams = [result.stream_events() for result in runs]
    for _ in range(2):
        for each in streams:
            await anext(each)
    for each in streams:
        async for _ in each:
            pass
    assert sorted(hints.application.type for hints in server.hints) == ["a", "b"]
    assert len(server.apps) == 2


async def test_streamed_run_that_is_cancelled_ends(
    justitia_server: Any, instrumented: None, config: RunConfig
) -> None:
    """The application ends with the task, however it ends."""
    await run(Agent(name="clerk"), config)  # the server is known from now on
    justitia_server.failures.append("hang")
    result = Runner.run_streamed(Agent(name="clerk"), "hi", run_config=config)
    assert await asyncio.to_thread(justitia_server.is_hanging.wait, 10.0)
    result.cancel()
    async for _ in result.stream_events():
        pass
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


async def test_streamed_run_that_fails_ends(
    justitia_server: Any, instrumented: None, config: RunConfig
) -> None:
    """The failure is the SDK's own, and the application ends."""
    justitia_server.failures.append(500)
    with pytest.raises(openai.InternalServerError):
        await stream(Agent(name="clerk"), config)
    assert justitia_server.finished() == list(justitia_server.apps)


async def test_streamed_run_that_cannot_begin(instrumented: None) -> None:
    """What the SDK refuses is refused as ever, and leaves nothing open."""
    options: dict[str, Any] = {"conversation_id": "c", "previous_response_id": "r"}
    with pytest.raises((TypeError, UserError)):
        Runner.run_streamed(Agent(name="clerk"), "hi", hooks=object(), **options)  # type: ignore[arg-type]
    assert justitia.current_application() is None


# `application(agent)`


@RUNS
async def test_application_streams_too(
    justitia_server: Any, instrumented: None, config: RunConfig, go: Any
) -> None:
    """Each run is one of its own, of the name it was given, with what was said of it."""
    agent = openai_agents.application(Agent(name="clerk"), "triage", deadline_s=9.0, input="it")
    for _ in range(2):
        await go(agent, config)
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    facts = justitia_server.hints[0].application
    assert (facts.type, facts.deadline_s, facts.input) == ("triage", 9.0, "it")


async def test_clone_of_an_application_is_one(
    server: Any, instrumented: None, config: RunConfig
) -> None:
    """What is derived from the agent stays what it is; it can be a tool and be handed to."""
    agent = openai_agents.application(Agent(name="clerk"), "triage").clone(instructions="Be brief.")
    assert isinstance(agent, Agent)
    await run(agent, config)
    assert server.hints[0].application.type == "triage"
    server.replies.append(handoff("clerk"))
    assert await run(Agent(name="first", handoffs=[agent]), config) == "hello"
    assert stages(server)[1:] == ["first", "clerk"]


async def test_application_alone_leaves_other_runs_alone(server: Any) -> None:
    """Without `instrument`, with a client that hints: only that agent's runs are applications."""
    async with justitia.AsyncOpenAI(max_retries=0) as client:
        config = RunConfig(model=OpenAIChatCompletionsModel("toy", client), tracing_disabled=True)
        await run(openai_agents.application(Agent(name="clerk"), "triage"), config)
        await run(Agent(name="clerk"), config)
    assert len(server.calls) == 2
    assert [hints.application.type for hints in server.hints] == ["triage"]


def test_plan_of_an_agent_that_only_answers(server: Any) -> None:
    """One call; with tools, handoffs or guardrails the turns are the model's choice."""
    clerk = Agent(name="clerk")
    assert openai_agents.plan_of(clerk) == justitia.Plan((justitia.Stage("clerk"),))
    assert openai_agents.plan_of(Agent(name="a", tools=[function_tool(look)])) is None
    assert openai_agents.plan_of(Agent(name="a", handoffs=[clerk])) is None
    assert openai_agents.plan_of("clerk") is None


async def test_the_plan_goes_out(server: Any, instrumented: None, config: RunConfig) -> None:
    """A run's application says what is known of its structure."""
    await run(Agent(name="clerk"), config)
    assert server.hints[0].application.plan == openai_agents.plan_of(Agent(name="clerk"))


async def test_conversation_is_the_input(
    server: Any, instrumented: None, config: RunConfig
) -> None:
    """Of a list of items the application's input is their text."""
    items: Any = [{"role": "user", "content": word} for word in ("one", "two")]
    await Runner.run(Agent(name="clerk"), items, run_config=config)
    assert server.hints[0].application.input == "one\ntwo"


# Fail open


async def test_unknown_internals_cost_labels_only(
    server: Any,
    config: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a version that is built otherwise, runs are still applications; one warning says so."""
    monkeypatch.setattr(openai_agents, "_INTERNALS", "agents.elsewhere")
    openai_agents.instrument()
    openai_agents.instrument()
    assert [record.message for record in caplog.records] == ["turns_without_labels"]
    assert await run(Agent(name="clerk"), config) == "hello"
    assert server.hints[0].application.type == "clerk"
    assert stages(server) == [None]


async def test_name_that_cannot_be_sent(server: Any, instrumented: None, config: RunConfig) -> None:
    """An agent may be called anything."""
    assert await run(Agent(name="a\nclerk " + "x" * 200), config) == "hello"
    assert server.hints[0].application.type.startswith("a clerk xxx")


def test_page_runs(justitia_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page runs as it stands: its calls are hinted, its applications' ends are told."""
    page = ROOT / "docs" / "openai_agents.md"
    names: dict[str, Any] = {"__name__": page.stem}
    monkeypatch.setattr("agents.models._openai_shared._default_openai_client", None)
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
    command = [sys.executable, str(ROOT / "examples" / "openai_agents_triage.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    new = [each for each in applications(live_url) if each["id"] not in before]
    assert [each["type"] for each in new] == ["triage"] * 2
    assert [each["calls"]["done"] for each in new] == [2, 2]
    assert {each["stage"] for each in new} <= {"billing", "repairs"}
    assert {each["state"] for each in new} == {"finished"}


def applications(live_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=10) as response:
        found = json.load(response)["data"]
    return [each for each in found if each["type"] in {"triage"}]
