"""The first predictor's rungs."""

import pytest

from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import COMPUTE, call_cost
from justitia_server.fairness.samples import Sample
from justitia_server.prediction import ladder
from justitia_server.prediction.base import Question
from justitia_server.prediction.course import Course
from justitia_server.prediction.histories import Histories
from justitia_server.prediction.ladder import LadderPredictor, calls_left
from justitia_server.prediction.outlook import Outlook, outlooks
from justitia_server.prediction.ratios import NUM_TRUSTED


def sample(
    cost, *, app_type="t", tenant="default", calls=1, tokens=10, unshared=None, declared=0,
    ended=True,
):  # fmt: skip
    return Sample(
        1, "app", app_type, tenant, cost, calls, tokens, unshared or cost, declared, ended
    )


def test_a_plan_is_the_sum_of_its_stages():
    """Range of calls at its middle, every turn of a loop taken."""
    plan = Plan(
        (
            Stage("map", calls=(2, 4), prompt_tokens=100, output_tokens=10),
            Stage("think", calls=1, loop=5, prompt_tokens=50, output_tokens=20),
        )
    )
    prediction = LadderPredictor().predict(Question("t", plan=plan))
    assert prediction.cost == 3 * call_cost(100, 10) + 5 * call_cost(50, 20)
    assert prediction.source == "plan"


def test_a_plan_without_prompt_tokens_uses_the_first_call():
    """What the first call shows stands for what was not declared."""
    plan = Plan((Stage("answer", calls=2, output_tokens=10),))
    prediction = LadderPredictor().predict(Question("t", plan=plan, first_prompt_tokens=70))
    assert prediction.cost == 2 * call_cost(70, 10)


def test_the_mean_of_a_type():
    """Without a plan, the mean of what the type used."""
    predictor = LadderPredictor()
    for cost in (100, 200, 600):
        predictor.observe(sample(cost))
    assert predictor.predict(Question("t")).cost == pytest.approx(300)
    assert predictor.predict(Question("t")).source == "type"


def test_types_are_learned_per_tenant():
    """One tenant's samples do not move another's type."""
    predictor = LadderPredictor()
    predictor.observe(sample(100, tenant="a"))
    assert predictor.predict(Question("t", tenant="b")).source == "prior"


def test_a_single_call_is_sized_by_its_prompt_and_limits():
    """A call that is its whole application: its own prompt, output within what it may produce."""
    question = Question(
        "unhinted", is_single_call=True, first_prompt_tokens=40,
        min_output_tokens=7, max_output_tokens=7,
    )  # fmt: skip
    assert LadderPredictor().predict(question).cost == call_cost(40, 7)


def test_the_coldest_types_are_merged():
    """Beyond a fixed number the least recently used is no type any more, and tells of new ones."""
    predictor = LadderPredictor(histories=Histories(most_types=2))
    for name in ("old", "kept", "new"):
        predictor.observe(sample(700, app_type=name))
    for name in ("old", "never seen"):
        told = predictor.predict(Question(name))
        assert (told.source, told.cost) == ("prior", pytest.approx(700))
    assert predictor.predict(Question("kept")).source == "type"
    assert predictor.predict(Question("old", tenant="b")).cost == 4 * call_cost(512, 10)


def test_a_plan_out_of_all_measure_is_clamped_and_counted():
    """A million calls a million times over count as the most that one application may cost."""
    predictor = LadderPredictor()
    plan = Plan((Stage("all", calls=10**6, loop=10**6, prompt_tokens=10**8, output_tokens=10**8),))
    assert predictor.predict(Question("t", plan=plan)).cost == ladder.MOST_COST
    assert predictor.num_absurd == 1


def plan_of(calls, *, output=10):
    return Plan((Stage("map", calls=calls, prompt_tokens=100, output_tokens=output),))


def test_a_declared_cost_counts_until_there_is_evidence():
    """After enough finished applications a plan tells relative size, and they what it comes to."""
    predictor, question = LadderPredictor(), Question("t", plan=plan_of(4))
    for _ in range(NUM_TRUSTED - 1):
        predictor.observe(sample(20_000, declared=2_000))
    assert predictor.predict(question).cost == 4 * call_cost(100, 10)
    predictor.observe(sample(20_000, declared=2_000))
    assert predictor.predict(question).cost == 10 * 4 * call_cost(100, 10)
    assert predictor.predict(question).source == "calibrated"


def test_a_new_type_is_believed_as_the_tenants_others_were():
    """A new name does not make a plan worth more; a type of its own that is known goes first."""
    predictor = LadderPredictor()
    for number in range(NUM_TRUSTED):
        predictor.observe(sample(20_000, declared=2_000, app_type=f"t{number}"))
    told = call_cost(100, 10)
    new = predictor.predict(Question("new", plan=plan_of(1)))
    assert (new.cost, new.source) == (10 * told, "calibrated")
    assert predictor.predict(Question("new", tenant="b", plan=plan_of(1))).cost == told
    for _ in range(NUM_TRUSTED):
        predictor.observe(sample(2_000, declared=2_000, app_type="honest"))
    assert predictor.predict(Question("honest", plan=plan_of(1))).cost == told


def test_one_that_has_not_ended_tells_of_its_plan_only():
    """What it cost so far says that the plan was too small, and nothing of the type's mean."""
    predictor = LadderPredictor()
    for _ in range(NUM_TRUSTED):
        predictor.observe(sample(20_000, declared=2_000, ended=False))
    assert predictor.predict(Question("t", plan=plan_of(1))).cost == 10 * call_cost(100, 10)
    assert predictor.predict(Question("t")).source == "prior"


def test_one_absurd_declaration_moves_nothing():
    """The median: a few that declared a thousandfold do not make the others look cheap."""
    predictor, question = LadderPredictor(), Question("t", plan=plan_of(4))
    for declared in (100, 100, 100, 100, 1, 1e9, 1e9):
        predictor.observe(sample(100, declared=declared))
    assert predictor.predict(question).cost == 4 * call_cost(100, 10)


def test_what_is_reckoned_from_lengths_is_scaled_by_what_is_really_charged():
    """A type whose calls share half their memory is charged half; so is its plan."""
    predictor = LadderPredictor()
    predictor.observe(sample(50, unshared=100))
    assert predictor.predict(Question("t", plan=plan_of(1))).cost == call_cost(100, 10) / 2


def course_of(*waves):
    """Return a course: 50 prompt and 10 output tokens a call, all but the last wave ended."""
    course = Course()
    for number, size in enumerate(waves, start=1):
        for _ in range(size):
            course.begin_call(50)
        for _ in range(size if number < len(waves) else 0):
            course.end_call(50, 10, call_cost(50, 10))
    return course


@pytest.mark.parametrize(
    ("waves", "left"),
    [
        ((1, 0), 10 + 10),  # the ranges are taken at their middle
        ((1, 4), 4 + 4),  # as many verdicts as queries
        ((1, 4, 4), 4),
        ((1, 4, 4, 1), 1),  # one more than was planned
    ],
)
def test_what_unfolds_tells_the_calls_left(waves, left):
    """Waves stand for stages: of a range the wave's size counts."""
    ranged = (1, 19)
    plan = Plan((Stage("extract"), Stage("query", ranged), Stage("verify", ranged)))
    assert calls_left(plan, course_of(*waves)) == left


def test_of_a_loop_the_turns_not_taken_are_left():
    """At least what is open."""
    plan = Plan((Stage("think", loop=5),))
    assert calls_left(plan, course_of(1, 1, 1)) == 3
    assert calls_left(plan, course_of(1, 1, 1, 1, 1, 1)) == 1


def test_a_plan_is_revised_by_what_its_calls_cost():
    """Done, and those left like those done."""
    question = Question("t", plan=plan_of(8, output=500))
    revised = LadderPredictor().revise(question, course_of(3, 0))
    assert revised == 8 * call_cost(50, 10)
    course = course_of(3, 1)
    plan = Plan((Stage("map", calls=3), Stage("reduce")))
    assert LadderPredictor().revise(Question("t", plan=plan), course) == 4 * call_cost(50, 10)


def test_without_a_plan_those_count_that_cost_more():
    """One that has cost so much is none of the small ones."""
    predictor = LadderPredictor()
    for cost in (100, 20_000, 40_000):
        predictor.observe(sample(cost))
    assert predictor.revise(Question("t"), course_of(1, 1)) == pytest.approx(30_000)
    assert predictor.revise(Question("unknown"), course_of(1, 1)) is None


def test_another_cost_model():
    """Under VTC's cost a plan is reckoned in that unit."""
    predictor = LadderPredictor(COMPUTE)
    assert predictor.predict(Question("t", plan=plan_of(3))).cost == 3 * (100 + 2 * 10)


def test_outlooks_of_a_plan():
    """A stage's critical path is one call of each stage from it on, loops included."""
    plan = Plan((Stage("map", calls=8, output_tokens=50), Stage("reduce", loop=3)))
    assert outlooks(plan, typical_output_tokens=20) == {
        "map": Outlook(0, 50, 110.0),
        "reduce": Outlook(1, 20, 60.0),
    }
