"""What every integration keeps, whatever the framework: the same lines for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import justitia_sdk as justitia
from integrations.framework import ANSWER, ASKED_FOR, FOUND, Framework, seen
from integrations.traces import of_ours

TEXT = "Is clause 7 valid?"


def call(framework: Framework, way: str, *args: Any) -> str:
    """Return what the framework answers in this way, synchronous or not."""
    answer = getattr(framework, way)(*args)
    return str(asyncio.run(answer) if inspect.iscoroutine(answer) else answer)


def run_agent(framework: Framework, run: str, server: Any, thing: Any = None) -> str:
    """Let the agent, or another *thing*, answer; the model asks for the tool once."""
    server.replies.extend(framework.agent_replies)
    return call(framework, run, framework.agent() if thing is None else thing, TEXT)


def call_ids(server: Any) -> list[str]:
    return [hints.call.call for hints in server.hints]


def events(server: Any) -> list[tuple[str, str, str]]:
    """Return what the server heard of tools: application, event, name."""
    server.finished()  # all is sent
    return [
        (request.path.split("/")[-2], request.body["event"], request.body["name"])
        for request in server.requests
        if request.path.endswith("/events") and request.body["event"].startswith("tool")
    ]


@pytest.fixture(autouse=True)
def _undone(framework: Framework) -> Iterator[None]:
    yield
    framework.integration.uninstrument()


@pytest.fixture
def instrumented(framework: Framework) -> None:
    """The one line at start-up."""
    framework.integration.instrument()


@pytest.fixture
def _nobody_there(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", url)


# Verbs


def test_verbs_are_the_same(framework: Framework) -> None:
    """Who knows one integration knows all."""
    verbs = framework.integration
    wanted = "(name=None, *, input=None, plan=None, weight=1.0, deadline_s=None)"
    assert behind_the_thing(verbs.application) == wanted
    assert behind_the_thing(verbs.plan_of) == "()"
    for verb in (verbs.instrument, verbs.uninstrument):
        inspect.signature(verb).bind()


def behind_the_thing(function: Any) -> str:
    """Return the signature behind the first parameter, without annotations."""
    _, *parameters = inspect.signature(function).parameters.values()
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in parameters]))


# Calls


@pytest.mark.usefixtures("instrumented")
def test_calls_of_a_scope_are_one_application(framework: Framework, way: str, server: Any) -> None:
    """Each call carries the application, under an id of its own."""
    with justitia.application("contract") as app:
        assert [call(framework, way, TEXT) for _ in range(2)] == [ANSWER] * 2
    assert server.apps == {app.app_id}
    assert len(server.hints) == len(server.calls) == 2
    assert len(set(call_ids(server))) == 2


@pytest.mark.needs("aask")
@pytest.mark.usefixtures("instrumented")
def test_interleaved_applications_stay_apart(framework: Framework, server: Any) -> None:
    """Two asynchronous applications at once: each call carries its own."""

    async def application(name: str) -> None:
        async with justitia.application(name):
            for _ in range(3):
                await framework.aask(name)

    async def both() -> None:
        await asyncio.gather(application("one"), application("two"))

    asyncio.run(both())
    said = [(hints.application.type, hints.application.app) for hints in server.hints]
    assert sorted(name for name, _ in said) == ["one"] * 3 + ["two"] * 3
    assert len(set(said)) == 2
    texts = [(request.hints.application.type, str(request.body)) for request in server.calls]
    assert all(name in body for name, body in texts)


@pytest.mark.needs("fan_out")
@pytest.mark.usefixtures("instrumented")
def test_fan_out_is_one_application(framework: Framework, server: Any) -> None:
    """The framework's own parallelism keeps the application."""
    with justitia.application("contract") as app:
        assert framework.fan_out(8) == [ANSWER] * 8
    assert server.apps == {app.app_id}
    assert len(set(call_ids(server))) == len(server.calls) == 8


@pytest.mark.usefixtures("instrumented")
def test_an_open_stage_labels_the_calls(framework: Framework, way: str, server: Any) -> None:
    """What the user says of the stage is what the server hears."""
    with justitia.application("contract") as app, app.stage("map"):
        call(framework, way, TEXT)
    assert server.stages == [("map", 0)]


@pytest.mark.usefixtures("instrumented")
def test_an_open_stage_labels_a_run(framework: Framework, run: str, server: Any) -> None:
    """It counts before the names the framework gives."""
    with justitia.application("contract") as app, app.stage("map"):
        run_agent(framework, run, server)
    assert set(server.stages) == {("map", 0)}


@pytest.mark.usefixtures("instrumented")
def test_end_is_told(framework: Framework, way: str, justitia_server: Any) -> None:
    """The integration's clients hear the server, which is told when the scope is left."""
    with justitia.application("contract") as app:
        call(framework, way, TEXT)
    assert justitia_server.finished() == [app.app_id]


# Nothing without being asked


def test_nothing_is_sent_before_instrument(framework: Framework, way: str, server: Any) -> None:
    """The framework alone says nothing."""
    with justitia.application("contract"):
        assert call(framework, way, TEXT) == ANSWER
    assert server.hints == []


def test_uninstrument_restores(framework: Framework, server: Any) -> None:
    """Nothing of ours is left in the framework, which then says nothing again."""
    assert of_ours() == set()
    framework.integration.instrument()
    framework.integration.instrument()
    assert of_ours() != set()
    framework.integration.uninstrument()
    assert of_ours() == set()
    framework.integration.uninstrument()
    with justitia.application("contract"):
        assert framework.ask(TEXT) == ANSWER
    assert server.hints == []


@pytest.mark.needs("run")
def test_runs_say_nothing_after_uninstrument(framework: Framework, run: str, server: Any) -> None:
    """A run is no application of its own any more, and reports no tools."""
    server.is_justitia = True
    framework.integration.instrument()
    framework.integration.uninstrument()
    assert run_agent(framework, run, server) == framework.answer
    assert server.hints == []
    assert seen == [None]


# Runs


@pytest.mark.needs("knows_runs")
@pytest.mark.usefixtures("instrumented")
def test_a_run_is_an_application(framework: Framework, run: str, justitia_server: Any) -> None:
    """A top-level run outside any application is one of its own, and its end is told."""
    assert run_agent(framework, run, justitia_server) == framework.answer
    (app,) = justitia_server.apps
    assert len(justitia_server.hints) == len(justitia_server.calls) >= 2
    assert justitia_server.finished() == [app]
    assert seen == [app]
    assert justitia.current_application() is None


@pytest.mark.needs("knows_runs")
@pytest.mark.usefixtures("instrumented")
def test_a_run_says_what_it_is(framework: Framework, run: str, server: Any) -> None:
    """The application bears the agent's name and knows its input, where that is promised."""
    run_agent(framework, run, server)
    facts = server.hints[0].application
    if framework.agent_type is not None:
        assert facts.type == framework.agent_type
    assert TEXT in facts.input


@pytest.mark.needs("knows_runs")
@pytest.mark.usefixtures("instrumented")
def test_two_runs_are_two_applications(framework: Framework, run: str, server: Any) -> None:
    """Each run is one of its own."""
    thing = framework.agent()
    for _ in range(2):
        run_agent(framework, run, server, thing)
    assert len(server.apps) == 2


@pytest.mark.usefixtures("instrumented")
def test_a_run_inside_an_application_is_part_of_it(
    framework: Framework, run: str, justitia_server: Any
) -> None:
    """The scope that is open counts."""
    with justitia.application("outer") as app:
        run_agent(framework, run, justitia_server)
        assert justitia_server.finished() == []
    assert justitia_server.apps == {app.app_id}
    assert {hints.application.type for hints in justitia_server.hints} == {"outer"}
    assert justitia_server.finished() == [app.app_id]


@pytest.mark.needs("knows_runs")
@pytest.mark.usefixtures("instrumented")
def test_calls_of_a_run_are_labelled(framework: Framework, run: str, server: Any) -> None:
    """The stage is what the framework calls the part that calls."""
    run_agent(framework, run, server)
    if framework.agent_stage is not None:
        assert {name for name, _ in server.stages} == {framework.agent_stage}


@pytest.mark.usefixtures("instrumented")
def test_tools_are_reported(framework: Framework, run: str, justitia_server: Any) -> None:
    """The server hears when a tool begins and ends."""
    with justitia.application("contract") as app:
        run_agent(framework, run, justitia_server)
    assert any(FOUND in str(request.body) for request in justitia_server.calls)
    assert events(justitia_server) == [
        (app.app_id, "tool_start", "look"),
        (app.app_id, "tool_end", "look"),
    ]


# `application(thing)`


@pytest.mark.usefixtures("instrumented")
def test_application_makes_every_run_one(
    framework: Framework, run: str, justitia_server: Any
) -> None:
    """Used like the thing itself; two runs are two applications, with what was said of them."""
    thing = framework.agent()
    twin = framework.integration.application(thing, "named", weight=2.0)
    assert isinstance(twin, type(thing))
    for _ in range(2):
        assert run_agent(framework, run, justitia_server, twin) == framework.answer
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)
    facts = [hints.application for hints in justitia_server.hints]
    assert {(each.type, each.weight) for each in facts} == {("named", 2.0)}


@pytest.mark.usefixtures("instrumented")
def test_application_leaves_the_thing_alone(framework: Framework, run: str, server: Any) -> None:
    """The original goes on as it was."""
    thing = framework.agent()
    framework.integration.application(thing, "named")
    assert run_agent(framework, run, server, thing) == framework.answer
    assert {hints.application.type for hints in server.hints} != {"named"}


@pytest.mark.usefixtures("instrumented")
def test_application_inside_another_is_part_of_it(
    framework: Framework, run: str, server: Any
) -> None:
    """Inside a scope its runs are parts of that one."""
    with justitia.application("outer") as app:
        twin = framework.integration.application(framework.agent(), "named")
        for _ in range(2):
            run_agent(framework, run, server, twin)
    assert server.apps == {app.app_id}


@pytest.mark.needs("run")
def test_application_checks_what_it_is_told(framework: Framework, server: Any) -> None:
    """Wrong use of our own API speaks up before any call."""
    with pytest.raises(justitia.errors.ConfigurationError):
        framework.integration.application(framework.agent(), "named", weight=-1.0)


@pytest.mark.needs("run")
def test_plan_is_found_without_a_call(framework: Framework, server: Any) -> None:
    """The structure, or None where the framework does not know it beforehand."""
    plan = framework.integration.plan_of(framework.agent())
    assert plan is None or isinstance(plan, justitia.Plan)
    assert server.requests == []


# The same with and without


@pytest.mark.parametrize("kind", ["justitia", "plain"])
def test_results_are_the_same(framework: Framework, run: str, server: Any, kind: str) -> None:
    """Requests and results with hints are those without, on any server."""
    server.is_justitia = kind == "justitia"
    results, bodies = [], []
    for is_hinting in (False, True):
        server.requests.clear()
        if is_hinting:
            framework.integration.instrument()
        results.append(run_agent(framework, run, server))
        bodies.append([request.body for request in server.calls])
    assert results[0] == results[1]
    assert bodies[0] == bodies[1]


@pytest.mark.usefixtures("instrumented")
def test_a_plain_server_hears_of_no_end(framework: Framework, run: str, server: Any) -> None:
    """It gets its calls, and nothing else."""
    run_agent(framework, run, server)
    assert server.finished() == []
    assert [each.path for each in server.requests] == [each.path for each in server.calls]


@pytest.mark.usefixtures("_nobody_there")
@pytest.mark.parametrize("is_hinting", [False, True])
def test_gone_server_is_the_frameworks_own_failure(
    framework: Framework, way: str, is_hinting: bool
) -> None:
    """Users catch what they always caught."""
    if is_hinting:
        framework.integration.instrument()
    with pytest.raises(framework.failure) as raised, justitia.application("contract"):
        call(framework, way, TEXT)
    assert type(raised.value) is framework.failure


@pytest.mark.usefixtures("instrumented", "_nobody_there")
def test_a_failed_run_leaves_nothing_open(framework: Framework, run: str) -> None:
    """The failure passes, the application ends."""
    with pytest.raises(framework.failure):
        call(framework, run, framework.agent(), TEXT)
    assert justitia.current_application() is None


@pytest.mark.needs("knows_runs")
@pytest.mark.needs("arun")
@pytest.mark.usefixtures("instrumented")
def test_a_cancelled_run_leaves_nothing_open(framework: Framework, justitia_server: Any) -> None:
    """A run that is given up in the midst of a call ends its application."""
    left_open = asyncio.run(_cancel_second_run(framework, justitia_server))
    assert left_open is None
    assert len(justitia_server.apps) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


async def _cancel_second_run(framework: Framework, server: Any) -> object:
    server.replies.extend(framework.agent_replies)
    await framework.arun(framework.agent(), TEXT)  # the server is known from now on
    server.failures.append("hang")
    task = asyncio.create_task(framework.arun(framework.agent(), TEXT))
    assert await asyncio.to_thread(server.is_hanging.wait, 10.0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, framework.failure):
        await asyncio.wait_for(task, 10.0)
    return justitia.current_application()


@pytest.mark.needs("caching")
def test_cache_keys_stay(framework: Framework, server: Any) -> None:
    """What was cached before is found by a hinting run, and by another application's."""
    with framework.caching():
        framework.ask(ASKED_FOR)
        framework.integration.instrument()
        for _ in range(2):
            with justitia.application("contract"):
                assert framework.ask(ASKED_FOR) == ANSWER
    assert len(server.calls) == 1
