"""What is DSPy's own: two engines, caches, predictors, threads and streams, plans."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import justitia_integrations.dspy as integration
import justitia_sdk as justitia
from integrations.framework import look, seen
from integrations.frameworks.dspy import Ask, fields

ROOT = Path(__file__).parents[2]
ENGINES = ["lm15", "litellm"]


class Draft(dspy.Module):  # type: ignore[misc]
    """A program of two predictors."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = dspy.ChainOfThought("question -> draft")
        self.final = dspy.Predict("draft -> answer")

    def forward(self, question: str) -> Any:
        return self.final(draft=self.draft(question=question).draft)

    async def aforward(self, question: str) -> Any:
        return await self.final.acall(draft=(await self.draft.acall(question=question)).draft)


DRAFT = [fields(reasoning="so", draft="a draft"), fields(answer="an answer")]


@pytest.fixture(autouse=True)
def _instrumented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("dspy.clients.execution._delay", lambda *_: 0.0)
    integration.instrument()
    yield
    integration.uninstrument()


@pytest.fixture(params=ENGINES)
def lm(request: pytest.FixtureRequest, server: Any) -> Iterator[dspy.LM]:
    """Return a model by DSPy's own engine, then by LiteLLM; the default of what runs meanwhile."""
    lm = dspy.LM(
        "openai/toy",
        engine=request.param,
        api_base=server.base_url,
        api_key="key",
        max_tokens=16,
        cache=False,
    )
    with dspy.context(lm=lm):
        yield lm


def attempts(server: Any) -> list[tuple[str, int]]:
    return [(hints.call.call, hints.call.attempt) for hints in server.hints]


def stages(server: Any) -> list[str | None]:
    return [name for name, _ in server.stages]


# Both engines


@pytest.mark.parametrize("is_async", [False, True])
def test_both_engines_carry_hints(lm: dspy.LM, justitia_server: Any, is_async: bool) -> None:
    """Every call bears the application and its stage, and the end is told."""
    with justitia.application("triage") as app, app.stage("map"):
        for _ in range(2):
            assert (asyncio.run(lm.acall("hi")) if is_async else lm("hi")) == ["hello"]
    assert justitia_server.apps == {app.app_id}
    assert justitia_server.stages == [("map", 0)] * 2
    assert len(set(attempts(justitia_server))) == len(justitia_server.calls) == 2
    assert justitia_server.finished() == [app.app_id]


@pytest.mark.parametrize("is_async", [False, True])
def test_retries_are_attempts_at_one_call(lm: dspy.LM, server: Any, is_async: bool) -> None:
    """DSPy's own retries keep the id; the next call has another."""
    server.failures.extend([500, 503])
    with justitia.application("triage"):
        for _ in range(2):
            assert (asyncio.run(lm.acall("hi")) if is_async else lm("hi")) == ["hello"]
    calls = attempts(server)
    assert [number for _, number in calls] == [0, 1, 2, 0]
    assert [call == calls[0][0] for call, _ in calls] == [True, True, True, False]


def test_candidates_are_calls_of_their_own(server: Any) -> None:
    """DSPy's engine asks for each of `n` answers by itself."""
    lm = dspy.LM("openai/toy", engine="lm15", api_base=server.base_url, api_key="key", cache=False)
    with justitia.application("triage"):
        lm("hi", n=3)
    assert [number for _, number in attempts(server)] == [0, 0, 0]
    assert len(set(attempts(server))) == 3


def test_strict_mode_raises_what_it_says(lm: dspy.LM, server: Any) -> None:
    """DSPy makes errors of its own of whatever goes wrong; misuse is told as such."""
    justitia.configure(strict=True)
    try:
        with pytest.raises(justitia.errors.NoActiveApplication):
            lm("hi")
    finally:
        justitia.configure(strict=False)
    assert server.calls == []


def test_litellm_is_left_alone_until_it_is_used(server: Any) -> None:
    """It is slow to import, and DSPy's own engine does without; once used, it hints."""
    code = f"""
import sys
import dspy
import justitia_sdk as justitia
from justitia_integrations import dspy as integration

integration.instrument()
options = dict(api_base={server.base_url!r}, api_key="key", cache=False)
with justitia.application("early"):
    dspy.LM("openai/toy", engine="lm15", **options)("hi")
    assert not [name for name in sys.modules if name.partition(".")[0] == "litellm"]
    dspy.LM("openai/toy", engine="litellm", **options)("hi")
assert "litellm.main" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(server.hints) == len(server.calls) == 2
    assert len(server.apps) == 1


# Caches


@pytest.mark.parametrize("engine", ENGINES)
def test_caches_hit_across_applications(server: Any, tmp_path: Path, engine: str) -> None:
    """On disk and in memory: a hit is a hit, sends nothing, and needs no application."""
    before = dspy.cache
    dspy.configure_cache(disk_cache_dir=str(tmp_path))
    try:
        lm = dspy.LM("openai/toy", engine=engine, api_base=server.base_url, api_key="key")
        integration.uninstrument()
        assert lm("hi") == ["hello"]
        integration.instrument()
        for name in ("one", "two"):
            with justitia.application(name):
                assert lm("hi") == ["hello"]
        dspy.cache.reset_memory_cache()
        with justitia.application("three"):
            assert lm("hi") == ["hello"]
            assert lm("there") == ["hello"]
    finally:
        dspy.cache = before
    assert [request.body["messages"][-1] for request in server.calls][1:] != []
    assert len(server.calls) == 2
    assert [hints.application.type for hints in server.hints] == ["three"]


# Runs and stages


@pytest.mark.parametrize("is_async", [False, True])
def test_stages_are_named_after_predictors(lm: dspy.LM, server: Any, is_async: bool) -> None:
    """As `named_predictors` has them; the application after the program."""
    server.replies.extend(DRAFT)
    program = Draft()
    if is_async:
        answer = asyncio.run(program.acall(question="Is it so?")).answer
    else:
        answer = program(question="Is it so?").answer
    assert answer == "an answer"
    assert stages(server) == ["draft.predict", "final"]
    facts = server.hints[0].application
    assert facts.type == "Draft"
    assert facts.input == "question: Is it so?"
    assert [stage.name for stage in facts.plan.stages] == ["draft.predict", "final"]


def test_a_lone_predictor_is_named_after_its_signature(lm: dspy.LM, server: Any) -> None:
    """It has no name of its own."""

    class Triage(dspy.Signature):  # type: ignore[misc]
        """Urgent or not?"""

        ticket: str = dspy.InputField()
        urgent: str = dspy.OutputField()

    server.replies.extend([fields(answer="yes"), fields(urgent="no")])
    dspy.Predict("question -> answer")(question="Is it so?")
    dspy.Predict(Triage)(ticket="It burns.")
    said = [(hints.application.type, hints.call.stage) for hints in server.hints]
    text = "question -> answer"
    assert said == [(f"Predict: {text}", text), ("Predict: Triage", "Triage")]


def test_react_is_a_loop_with_tools(lm: dspy.LM, justitia_server: Any) -> None:
    """Its turns are one stage, what is drawn from them another; to finish is no tool."""
    look_up = fields(next_thought="look", next_tool_name="look", next_tool_args='{"what": "x"}')
    finish = fields(next_thought="done", next_tool_name="finish", next_tool_args="{}")
    justitia_server.replies.extend([look_up, finish, fields(reasoning="so", answer="an answer")])
    agent = dspy.ReAct("question -> answer", tools=[look])
    assert agent(question="Is it so?").answer == "an answer"
    assert stages(justitia_server) == ["react", "react", "extract.predict"]
    (app,) = justitia_server.apps
    assert seen == [app]
    assert justitia_server.finished() == [app]
    told = [each.body for each in justitia_server.requests if each.path.endswith("/events")]
    events = [(each["event"], each["name"]) for each in told if each["event"].startswith("tool")]
    assert events == [("tool_start", "look"), ("tool_end", "look")]


def test_copies_that_run_are_named_as_in_the_plan(lm: dspy.LM, server: Any) -> None:
    """`BestOfN` runs copies of its module, which stand in nobody's tree."""
    server.replies.extend([fields(reasoning="so", answer=str(turn)) for turn in range(3)])
    best = dspy.BestOfN(
        module=dspy.ChainOfThought("question -> answer"),
        N=3,
        reward_fn=lambda _, prediction: float(prediction.answer),
        threshold=9.0,
    )
    assert best(question="Is it so?").answer == "2"
    plan = integration.plan_of(best)
    assert plan is not None
    assert stages(server) == [stage.name for stage in plan.stages] * 3 == ["predict"] * 3


def test_arguments_without_a_name_are_input_too(lm: dspy.LM, server: Any) -> None:
    """As modules of the user's own take them."""
    Ask()("Is it so?")
    assert server.hints[0].application.input == "Is it so?"


def test_a_module_that_cannot_tell_runs_all_the_same(lm: dspy.LM, server: Any) -> None:
    """Names and plans are a help, never a condition."""

    class Odd(Draft):  # type: ignore[misc]
        def named_predictors(self) -> Any:
            raise RuntimeError

    server.replies.extend(DRAFT)
    assert Odd()(question="Is it so?").answer == "an answer"
    assert len(server.hints) == 2


def test_application_keeps_callbacks_and_history(lm: dspy.LM, server: Any) -> None:
    """What stands for the module is used exactly like it."""
    began: list[str] = []

    class Callback(dspy.utils.callback.BaseCallback):  # type: ignore[misc]
        def on_module_start(self, call_id: str, instance: Any, inputs: Any) -> None:
            began.append(type(instance).__name__)

    server.replies.extend(DRAFT)
    program = Draft()
    program.callbacks = [Callback()]
    twin = integration.application(program, "drafts")
    assert twin(question="Is it so?").answer == "an answer"
    assert began == ["Draft"]
    assert len(program.history) == 2
    assert {hints.application.type for hints in server.hints} == {"drafts"}


# Threads and streams


def test_parallel_keeps_the_scope_and_is_announced(lm: dspy.LM, justitia_server: Any) -> None:
    """Its threads belong to the application, which knows of the burst before it comes."""
    justitia_server.replies.extend([DRAFT[1]] * 5)
    predict = dspy.Predict("question -> answer")
    parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    with justitia.application("triage") as app:
        answers = parallel([(predict, {"question": "Is it so?"})] * 5)
    assert [each.answer for each in answers] == ["an answer"] * 5
    assert justitia_server.apps == {app.app_id}
    assert stages(justitia_server) == ["question -> answer"] * 5
    (stage,) = justitia_server.hints[0].application.plan.stages
    assert stage == justitia.Stage.of("question -> answer", calls=5, parallel=2)


def test_a_burst_within_a_program_is_announced(lm: dspy.LM, server: Any) -> None:
    """Under the names its predictors have in the program."""

    class Map(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.each = Draft()

        def forward(self, questions: list[str]) -> Any:
            parallel = dspy.Parallel(num_threads=1, disable_progress_bar=True)
            return parallel([(self.each, {"question": question}) for question in questions])

    server.replies.extend(DRAFT * 3)
    Map()(questions=["a", "b", "c"])
    names = ["each.draft.predict", "each.final"]
    assert stages(server) == names * 3
    plan = server.hints[0].application.plan
    assert plan.stages == tuple(justitia.Stage(name, calls=1, loop=3) for name in names)


def test_parallel_runs_outside_are_applications_of_their_own(lm: dspy.LM, server: Any) -> None:
    """Each is a run at the top."""
    parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    parallel([(Ask(), {"text": "hi"})] * 3)
    assert len(server.apps) == 3


def test_batch_and_nested_parallel_keep_the_scope(lm: dspy.LM, server: Any) -> None:
    """A parallel within a parallel as well."""
    example = dspy.Example(text="hi").with_inputs("text")
    inner = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    outer = dspy.Parallel(num_threads=2, disable_progress_bar=True)
    with justitia.application("triage") as app:
        Ask().batch([example] * 2, num_threads=2, disable_progress_bar=True)
        outer([(inner, [(Ask(), example)] * 2)] * 2)
    assert server.apps == {app.app_id}
    assert len(server.calls) == 6


async def test_asyncify_keeps_the_scope(lm: dspy.LM, server: Any) -> None:
    """Its worker threads do."""
    ask = dspy.asyncify(Ask())
    async with justitia.application("triage") as app:
        await asyncio.gather(ask(text="hi"), ask(text="hi"))
    assert server.apps == {app.app_id}
    assert len(server.calls) == 2


@pytest.mark.parametrize("is_async_program", [False, True])
async def test_streams_stay_in_their_application(
    lm: dspy.LM, justitia_server: Any, is_async_program: bool
) -> None:
    """Those read in turns too; who reads them is in none."""
    stream = dspy.streamify(Ask(), is_async_program=is_async_program)
    one, two = stream(text="hi"), stream(text="hi")
    async for _ in one:
        assert justitia.current_application() is None
        async for _ in two:
            assert justitia.current_application() is None
    assert len(justitia_server.apps) == len(justitia_server.calls) == 2
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


async def test_streams_belong_to_the_scope_around_them(lm: dspy.LM, server: Any) -> None:
    """As do those read by others of the same application."""
    async with justitia.application("triage") as app:
        parts = [part async for part in dspy.streamify(Ask())(text="hi")]
    assert parts[-1].answer == "hello"
    assert server.apps == {app.app_id}


async def test_a_cancelled_run_ends(lm: dspy.LM, justitia_server: Any) -> None:
    """It leaves nothing open, and the next call is no attempt at the old one."""
    await Ask().acall(text="hi")
    justitia_server.failures.append("hang")
    task = asyncio.create_task(Ask().acall(text="hi"))
    assert await asyncio.to_thread(justitia_server.is_hanging.wait, 10.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await Ask().acall(text="hi")
    assert [number for _, number in attempts(justitia_server)] == [0, 0, 0]
    assert len(justitia_server.apps) == 3
    assert sorted(justitia_server.finished()) == sorted(justitia_server.apps)


# The page and the example


def test_page_runs(justitia_server: Any) -> None:
    """The page runs as it stands: its calls are hinted, its applications' ends are told."""
    page = ROOT / "docs" / "dspy.md"
    justitia_server.replies.extend([DRAFT[1]] * 4)
    integration.uninstrument()
    names: dict[str, Any] = {"__name__": page.stem}
    dspy.cache.reset_memory_cache()
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
        exec(compile(block, page.name, "exec"), names)
    dspy.configure(lm=None)
    types = [hints.application.type for hints in justitia_server.hints]
    review = ["contract_review"] * 2
    assert types == ["Predict: question -> answer", *review, "clause_check"]
    assert len(justitia_server.finished()) == 3


@pytest.mark.live
def test_example_runs(live_url: str) -> None:
    """The example runs as a user would run it; the server's books say what it was."""
    before = {each["id"] for each in applications(live_url)}
    command = [sys.executable, str(ROOT / "examples" / "dspy_program.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    new = [each for each in applications(live_url) if each["id"] not in before]
    assert [each["calls"]["done"] for each in new if each["type"] == "Book"] == [4]


def applications(live_url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{live_url}/v1/applications", timeout=30) as response:
        return list(json.load(response)["data"])


# Plans


def best_of(module: Any) -> Any:
    return dspy.BestOfN(module=module, N=3, reward_fn=lambda *_: 1.0, threshold=1.0)


PLANS = {
    "question -> answer": [("question -> answer", 1)],
    "ChainOfThought": [("predict", 1)],
    "ReAct": [("react", 4), ("extract.predict", 1)],
    "ReActV2": [("react", 4)],
    "ProgramOfThought": [
        ("code_generate.predict", 1),
        ("code_regenerate.predict", 3),
        ("generate_output.predict", 1),
    ],
    "CodeAct": [("codeact", 4), ("extractor.predict", 1)],
    "BestOfN": [("react", 12), ("extract.predict", 3)],
    "Draft": [("draft.predict", 1), ("final", 1)],
}
MODULES = {
    "question -> answer": lambda text: dspy.Predict(text),
    "ChainOfThought": lambda text: dspy.ChainOfThought(text),
    "ReAct": lambda text: dspy.ReAct(text, tools=[look], max_iters=4),
    "ReActV2": lambda text: dspy.ReActV2(text, tools=[look], max_iters=4),
    "ProgramOfThought": lambda text: dspy.ProgramOfThought(text, max_iters=3),
    "CodeAct": lambda text: dspy.CodeAct(text, tools=[look], max_iters=4),
    "BestOfN": lambda text: best_of(dspy.ReAct(text, tools=[look], max_iters=4)),
    "Draft": lambda _: Draft(),
}


@pytest.mark.parametrize("kind", PLANS)
def test_plans_are_read_from_modules(kind: str) -> None:
    """A stage for each predictor, in order, repeated as often as the module may."""
    plan = integration.plan_of(MODULES[kind]("question -> answer"))
    assert plan is not None
    assert [(stage.name, stage.loop) for stage in plan.stages] == PLANS[kind]
    assert {stage.calls for stage in plan.stages} == {1}


def test_no_plan_where_none_is_known() -> None:
    """Where the model writes the program, or a module asks it by other means."""
    assert integration.plan_of(dspy.RLM("context, query -> answer")) is None
    assert integration.plan_of(Ask()) is None
    assert integration.plan_of("no module") is None


def test_what_the_user_declares_stands(lm: dspy.LM, server: Any) -> None:
    """A plan of the user's own is the plan."""
    plan = justitia.Plan((justitia.Stage("all", calls=2),))
    server.replies.extend(DRAFT)
    with justitia.application("triage", plan=plan) as app:
        Draft()(question="Is it so?")
        assert app.plan == plan


def test_what_runs_in_a_scope_is_added_to_its_plan(lm: dspy.LM, server: Any) -> None:
    """Program by program."""
    server.replies.extend([*DRAFT, DRAFT[1]])
    with justitia.application("triage") as app:
        Draft()(question="Is it so?")
        dspy.Predict("question -> answer")(question="Is it so?")
        assert app.plan is not None
        names = [stage.name for stage in app.plan.stages]
    assert names == ["draft.predict", "final", "question -> answer"]
