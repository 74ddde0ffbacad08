"""Fan-out told before it happens, and structure found on the way, as servers hear of them."""

from typing import Any

import pytest

import justitia_sdk as justitia
from justitia_sdk.errors import ConfigurationError
from justitia_sdk.protocol import ApplicationHints, fitted

PROMPT: dict[str, Any] = {"model": "toy", "messages": [{"role": "user", "content": "hi"}]}


def call() -> None:
    with justitia.OpenAI() as client:
        client.chat.completions.create(**PROMPT)


def plan_of(*stages: justitia.Stage) -> justitia.Plan:
    return justitia.Plan(stages)


def test_fan_out_is_announced_before_the_burst(justitia_server: Any) -> None:
    """A server that is known hears of forty calls before the first of them."""
    with justitia.application("sum") as app:
        call()
        with app.stage("map", calls=40, parallel=8, output_tokens=100):
            (told,) = justitia_server.told("applications")
            assert len(justitia_server.calls) == 1
    assert told.path == "/v1/applications"
    assert told.headers["authorization"] == "Bearer key"
    assert (told.body["app"], told.body["type"]) == (app.app_id, "sum")
    assert told.body["plan"] == [{"name": "map", "calls": 8, "loop": 5, "output_tokens": 100}]


def test_fan_out_goes_out_with_the_next_call(server: Any) -> None:
    """Every server learns it from the header of the burst's own calls."""
    with justitia.application("sum") as app, app.stage("map", calls=(2, 6)):
        call()
    (hints,) = server.hints
    assert hints.application.plan == plan_of(justitia.Stage("map", (2, 6)))
    assert (hints.call.stage, hints.call.stage_index) == ("map", 0)


def test_plain_server_is_told_nothing_but_calls(server: Any) -> None:
    """Stages, structure and tools go to Justitia servers only."""
    with justitia.application("sum") as app:
        call()
        app.expect(plan_of(justitia.Stage("map")))
        with app.stage("map", calls=3), app.tool("search"):
            call()
    assert server.finished() == []
    assert [request.path for request in server.requests] == ["/v1/chat/completions"] * 2


def test_stage_without_a_number_is_not_announced(justitia_server: Any) -> None:
    """A mere label is told by the calls themselves."""
    with justitia.application("sum") as app:
        call()
        with app.stage("map"):
            call()
    assert justitia_server.told("applications") == []
    assert app.plan is None


def test_same_fan_out_again_is_announced_once(justitia_server: Any) -> None:
    """A loop that opens its stage anew each turn says nothing new."""
    with justitia.application("loop") as app:
        call()
        for _ in range(3):
            with app.stage("think", calls=2):
                pass
    assert len(justitia_server.told("applications")) == 1


def test_stage_takes_the_number_of_the_plan() -> None:
    """A stage opened out of turn keeps its place in the plan."""
    plan = plan_of(justitia.Stage("map", 3), justitia.Stage("reduce"))
    with justitia.application("sum", plan=plan) as app:
        scope = app.scope_of("reduce")
        assert (scope.stage, scope.stage_index) == ("reduce", 1)


def test_expected_output_alone_is_told() -> None:
    """A stage of one long call is a stage of one call; one whose calls are known keeps them."""
    with justitia.application("sum", plan=plan_of(justitia.Stage("map", 8))) as app:
        app.stage("reduce", output_tokens=400)
        app.stage("map", output_tokens=50)
        assert app.plan == plan_of(
            justitia.Stage("map", 8, output_tokens=50), justitia.Stage("reduce", output_tokens=400)
        )


def test_found_structure_is_told_at_once_and_with_calls(justitia_server: Any) -> None:
    """What a framework shows goes out like a declared plan."""
    found = plan_of(justitia.Stage("agent", 2))
    with justitia.application("chain") as app:
        call()
        app.expect(found)
        call()
    assert app.plan == found
    assert [told.body["plan"] for told in justitia_server.told("applications")] == [
        [{"name": "agent", "calls": 2}]
    ]
    assert [hints.application.plan for hints in justitia_server.hints] == [None, found]


def test_found_structure_never_overrides_a_declaration(justitia_server: Any) -> None:
    """Neither a plan nor a stage that the user declared."""
    declared = plan_of(justitia.Stage("map", 8))
    with justitia.application("sum", plan=declared) as app:
        call()
        app.expect(plan_of(justitia.Stage("map", 1), justitia.Stage("reduce")))
        assert app.plan == declared
    with justitia.application("sum") as app, app.stage("map", calls=8):
        call()
        app.expect(plan_of(justitia.Stage("map", 1)))
        assert app.plan == declared
    assert justitia_server.told("applications") == []


def test_structure_found_in_a_part_is_the_roots() -> None:
    """The server schedules the root, so what is found inside belongs to it."""
    with justitia.application("outer") as outer, justitia.application("inner") as inner:
        inner.expect(plan_of(justitia.Stage("agent")))
        with inner.stage("tools", calls=2):
            pass
    assert outer.plan == plan_of(justitia.Stage("agent"), justitia.Stage("tools", 2))


def test_structure_found_after_the_end_is_told_to_nobody(justitia_server: Any) -> None:
    """An application that has ended is not announced again."""
    with justitia.application("sum") as app:
        call()
    app.expect(plan_of(justitia.Stage("map")))
    assert justitia_server.told("applications") == []


def test_plan_prints_as_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    """`print(app.plan)` shows declared and found stages, a line each."""
    with justitia.application("sum") as app:
        app.expect(plan_of(justitia.Stage("split")))
        with app.stage("map", calls=40, parallel=8):
            print(app.plan)  # noqa: T201
    assert capsys.readouterr().out.splitlines() == [
        "├─ split  1 call",
        "└─ map  8 calls at once, up to 5 times",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls": -1},
        {"calls": (3, 2)},
        {"calls": "many"},
        {"calls": 3, "parallel": 0},
        {"parallel": 3},
        {"calls": 3, "output_tokens": 0},
        {"calls": 3, "output_tokens": 1.5},
    ],
)
def test_stage_without_meaning_is_refused_at_once(wrong: dict[str, Any]) -> None:
    """Before the scope opens, with the field's name, and nothing is noted."""
    with justitia.application("sum") as app:
        with pytest.raises(ConfigurationError):
            app.stage("map", **wrong)
        assert app.plan is None


def test_threads_that_declare_at_once_lose_no_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread's plan, made before another's and taken up after it, does not undo that."""
    others = ["other"]

    def interrupted(facts: ApplicationHints) -> ApplicationHints:
        if others:
            app.stage(others.pop(), calls=2)
        return fitted(facts)

    with justitia.application("wide") as app:
        monkeypatch.setattr("justitia_sdk.applications.fitted", interrupted)
        app.stage("one", calls=1)
        assert app.plan == plan_of(justitia.Stage("one"), justitia.Stage("other", 2))
        assert app.facts.plan == app.plan


def test_current_stage_is_the_open_one() -> None:
    """Its name is public; outside any it is None."""
    assert justitia.current_stage() is None
    with justitia.application("sum") as app:
        assert justitia.current_stage() is None
        with app.stage("map", calls=2):
            assert justitia.current_stage() == "map"
        with justitia.application("inner"):
            assert justitia.current_stage() == "inner"
        assert justitia.current_stage() is None
