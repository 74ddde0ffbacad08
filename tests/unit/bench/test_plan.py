"""The declared plan: what it costs, its stages, and that the header carries it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.protocol import ApplicationHints, CallHints, Hints, decode_hints, encode_hints
from justitia_server.bench.plan import plan_of, stages_of
from justitia_server.fairness.cost import call_cost
from justitia_server.prediction.base import Question
from justitia_server.prediction.ladder import LadderPredictor
from justitia_server.simulation.workload import Arriving, Call


def cost_of(plan):
    return sum(
        stage.calls * call_cost(stage.prompt_tokens, stage.output_tokens) for stage in plan.stages
    )


@st.composite
def applications(draw):
    calls = []
    for place in range(draw(st.integers(1, 60))):
        before = draw(st.lists(st.integers(0, place - 1), max_size=3, unique=True)) if place else []
        calls.append(
            Call(
                id=place,
                after=before,
                prompt_tokens=draw(st.integers(50, 4000)),
                output_tokens=draw(st.integers(1, 1000)),
                samples=draw(st.integers(1, 5)),
            )
        )
    return Arriving(app_id="a", app_type="t", arrival_s=0.0, calls=calls)


@given(applications())
def test_the_plan_costs_what_the_application_costs(application):
    """But for half a prompt token a call."""
    plan = plan_of(application)
    most = sum(stage.calls * stage.output_tokens / 2 for stage in plan.stages)
    assert abs(cost_of(plan) - application.cost) <= most
    assert sum(stage.calls for stage in plan.stages) == sum(c.samples for c in application.calls)


@given(applications())
def test_every_call_is_of_a_stage_of_the_plan_and_none_before_those_it_waits_for(application):
    """Stages are named by their place."""
    plan = plan_of(application)
    stages = stages_of(application, plan)
    assert set(stages) == {stage.name for stage in plan.stages}
    for call in application.calls:
        assert all(int(stages[before]) <= int(stages[call.id]) for before in call.after)


def test_equal_calls_of_a_level_are_told_exactly(application):
    """Two levels: five samples, then one call."""
    made = application("a", {"samples": 5}, {"after": [0], "prompt_tokens": 77})
    plan = plan_of(made)
    told = [(stage.calls, stage.prompt_tokens, stage.output_tokens) for stage in plan.stages]
    assert told == [(5, 10, 5), (1, 77, 5)]


def test_the_server_predicts_the_cost_that_is_declared(application):
    """Its predictor, asked with the plan, says the true cost."""
    made = application("a", {}, {"prompt_tokens": 400, "output_tokens": 90}, {"after": [0, 1]})
    prediction = LadderPredictor().predict(Question("t", "default", plan=plan_of(made)))
    assert abs(prediction.cost / made.cost - 1) < 0.01


def test_a_long_chain_fits_into_the_header(application):
    """Neighbouring levels are put together until it does; a long name leaves less room."""
    chain = [{"after": [place - 1] if place else []} for place in range(200)]
    for app_type in ("t", "長" * 128):
        made = application("a", *chain, app_type=app_type, weight=0.123456789)
        plan = plan_of(made)
        hints = ApplicationHints("0" * 26, app_type, weight=made.weight, plan=plan)
        call = CallHints("f" * 32, 3, stages_of(made, plan)[-1], len(plan.stages) - 1)
        assert decode_hints(encode_hints(Hints(hints, call))).application.plan == plan
        assert cost_of(plan) == made.cost


def test_without_a_plan_the_stages_are_the_levels(application):
    """However many there are."""
    made = application("a", {}, {}, {"after": [0]}, {"after": [1, 2]})
    assert stages_of(made, None) == ["0", "0", "1", "2"]
