"""What the scheduler is told of costs in a simulation."""

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.fairness.cost import KV_TOKEN_TIME, call_cost
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.base import Prediction
from justitia_server.simulation.costs import make_costs, true_cost
from justitia_server.simulation.online_costs import FIRST_TRAINING, OnlineCosts
from justitia_server.simulation.workload import Arriving


def application(app_id, *, samples=1, **told):
    calls = [
        {"id": 0, "prompt_tokens": 100, "output_tokens": 10, "samples": samples},
        {"id": 1, "after": [0], "prompt_tokens": 50, "output_tokens": 20},
    ]
    return Arriving(app_id=app_id, app_type="t", calls=calls, arrival_s=0.0, **told)


class Model:
    """Says a number, and keeps what it was asked."""

    def __init__(self, cost=777.0):
        self.cost = cost
        self.asked = []

    def predict(self, case):
        self.asked.append(case)
        return Prediction(self.cost, "own")


def play(costs, made):
    """Run an application to its end; return what it was predicted, and what was revised."""
    predicted = costs.predict(made).cost
    revised = []
    for call in made.calls:
        costs.begin(made.app_id, call)
        revised += costs.revisions()
        for _ in range(call.samples):
            costs.end(made.app_id, call)
    cost = true_cost(made, KV_TOKEN_TIME)
    num_calls = sum(call.samples for call in made.calls)
    costs.observe(
        Sample(1, made.app_id, "t", "default", cost, num_calls, made.num_output_tokens, cost)
    )
    return predicted, revised


@pytest.mark.parametrize(
    "told", ["onlin", "online:text", "online:-texts", "online:-", "typical:1", "lognormal:x"]
)
def test_what_makes_no_sense_is_refused(told):
    """Before anything runs."""
    with pytest.raises(ConfigurationError):
        make_costs(told, KV_TOKEN_TIME, 1)


def test_typical_is_the_mean_so_far():
    """Of a type not seen before: some calls like its first."""
    costs = make_costs("typical", KV_TOKEN_TIME, 1)
    first, _ = play(costs, application("a"))
    assert first == 4 * call_cost(100, 128)
    small = play(costs, application("b", samples=3))[0]
    assert small == true_cost(application("a"), KV_TOKEN_TIME)


def test_it_is_trained_in_line():
    """First with twenty, then with half as many again; in use at once."""
    seen = []

    def train(examples):
        seen.append(len(examples))
        return Model()

    costs = OnlineCosts(KV_TOKEN_TIME, 1, train=train)
    for number in range(50):
        play(costs, application(f"a{number}"))
    assert seen == [FIRST_TRAINING, 30, 45]


@pytest.mark.parametrize(
    ("without", "has_text", "has_plan"),
    [("", True, True), ("text", False, True), ("plan", True, False)],
)
def test_parts_can_be_left_out(without, has_text, has_plan):
    """A model is not shown the text, or the plan."""
    model = Model()
    costs = OnlineCosts(KV_TOKEN_TIME, 1, without=frozenset([without]), train=lambda them: model)
    made = application("a", input_text="words", plan=[{"name": "map", "calls": 2}])
    for number in range(FIRST_TRAINING + 1):
        play(costs, made.model_copy(update={"app_id": f"a{number}"}))
    assert all((case.text is not None) == has_text for case in model.asked)
    assert all((case.question.plan is not None) == has_plan for case in model.asked)


def test_revisions_are_told_unless_they_are_left_out():
    """After the first call has ended and the second begun."""
    told = play(make_costs("online", KV_TOKEN_TIME, 1), application("a", plan=[{"name": "m"}]))[1]
    assert [each.app_id for each in told] == ["a"]
    costs = make_costs("online:-revision", KV_TOKEN_TIME, 1)
    assert play(costs, application("a", plan=[{"name": "m"}]))[1] == []


def test_a_plan_that_makes_no_sense_is_refused_with_its_field():
    """As the hints would be."""
    with pytest.raises(ValueError, match="calls"):
        application("a", plan=[{"name": "map", "calls": -1}])
