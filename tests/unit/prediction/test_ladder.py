"""The first predictor's rungs."""

from justitia_sdk.protocol import Plan, Stage
from justitia_server.fairness.cost import COMPUTE, call_cost
from justitia_server.fairness.samples import Sample
from justitia_server.prediction import ladder
from justitia_server.prediction.base import Question
from justitia_server.prediction.ladder import LadderPredictor
from justitia_server.prediction.outlook import Outlook, outlooks


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


def test_the_running_mean_of_a_type():
    """Without a plan, the mean of what the type used."""
    predictor = LadderPredictor()
    for cost in (100, 200, 600):
        predictor.observe(sample(cost))
    assert predictor.predict(Question("t")).cost == 300
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


def test_types_kept_are_bounded(monkeypatch):
    """The least recently used type goes first."""
    monkeypatch.setattr(ladder, "NUM_TYPES_KEPT", 2)
    predictor = LadderPredictor()
    for name in ("old", "kept", "new"):
        predictor.observe(sample(10, app_type=name))
    assert predictor.predict(Question("old")).source == "prior"
    assert predictor.predict(Question("kept")).source == "type"


def plan_of(calls, *, output=10):
    return Plan((Stage("map", calls=calls, prompt_tokens=100, output_tokens=output),))


def test_a_declared_cost_counts_until_there_is_evidence():
    """After enough finished applications a plan tells relative size, and they what it comes to."""
    predictor, question = LadderPredictor(), Question("t", plan=plan_of(4))
    for _ in range(ladder.NUM_SAMPLES_TRUSTED - 1):
        predictor.observe(sample(20_000, declared=2_000))
    assert predictor.predict(question).cost == 4 * call_cost(100, 10)
    predictor.observe(sample(20_000, declared=2_000))
    assert predictor.predict(question).cost == 10 * 4 * call_cost(100, 10)
    assert predictor.predict(question).source == "calibrated"


def test_a_new_type_is_believed_as_the_tenants_others_were():
    """A new name does not make a plan worth more; a type of its own that is known goes first."""
    predictor = LadderPredictor()
    for number in range(ladder.NUM_SAMPLES_TRUSTED):
        predictor.observe(sample(20_000, declared=2_000, app_type=f"t{number}"))
    told = call_cost(100, 10)
    new = predictor.predict(Question("new", plan=plan_of(1)))
    assert (new.cost, new.source) == (10 * told, "calibrated")
    assert predictor.predict(Question("new", tenant="b", plan=plan_of(1))).cost == told
    for _ in range(ladder.NUM_SAMPLES_TRUSTED):
        predictor.observe(sample(2_000, declared=2_000, app_type="honest"))
    assert predictor.predict(Question("honest", plan=plan_of(1))).cost == told


def test_one_that_has_not_ended_tells_of_its_plan_only():
    """What it cost so far says that the plan was too small, and nothing of the type's mean."""
    predictor = LadderPredictor()
    for _ in range(ladder.NUM_SAMPLES_TRUSTED):
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
