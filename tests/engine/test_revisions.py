"""Predictions revised while applications run: what the control call does, and in simulation."""

import json

import pytest

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.control import control
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.prediction.base import Prediction
from justitia_server.simulation.costs import CallTold, Revised, ToldOnce
from justitia_server.simulation.run import simulate
from justitia_server.simulation.server import Server
from justitia_server.simulation.step_time import StepTime
from justitia_server.simulation.workload import Arriving

pytestmark = pytest.mark.engine

OPTIONS = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=2048)
STEPS = StepTime(10.0, 0.0, 0.0, 1.0, 0.01, 0.0)


def engine_with(**costs):
    """Return an engine with a call of each application, by its predicted cost."""
    engine = OfflineEngine(OPTIONS)
    for app_id, cost in costs.items():
        told = pack(ApplicationFacts(app_id, predicted_cost=cost), CallFacts())
        engine.add(app_id, prompt=20, num_output_tokens=30, extra_args={EXTRA_ARGS_KEY: told})
    return engine


def revise(engine, *revisions):
    return json.loads(control(engine.scheduler, "revise", json.dumps({"revisions": revisions})))


def test_several_predictions_are_revised_at_once():
    """The reference follows each; the order downwards, and upwards where it is said."""
    engine = engine_with(a=1e4, b=1e4, c=1e4)
    told = [("a", 5e3, False), ("b", 2e4, False), ("c", 2e4, True)]
    assert revise(engine, *told) == {"num_revised": 3}
    accounts = engine.scheduler.ledger.in_flight
    assert [accounts[name].predicted_cost for name in "abc"] == [5e3, 2e4, 2e4]
    assert [accounts[name].virtual_finish for name in "abc"] == [5e3, 1e4, 2e4]


def test_an_application_that_is_not_here_is_passed_over():
    """It has ended meanwhile, or another engine serves it; the others are revised."""
    engine = engine_with(a=1e4)
    assert revise(engine, ("gone", 5e3, False), ("a", 5e3, False)) == {"num_revised": 1}
    assert engine.scheduler.ledger.in_flight["a"].predicted_cost == 5e3


def test_nobody_is_predicted_below_what_was_used():
    """What the engine has charged counts, whatever it is told."""
    engine = engine_with(a=1e6)
    for _ in range(10):
        engine.step()
    revise(engine, ("a", 1.0, False))
    account = engine.scheduler.ledger.in_flight["a"]
    assert account.attained_service > 200
    assert account.predicted_cost == account.attained_service


class Learns(ToldOnce):
    """
    Thinks that a costs a million and b half of that; knows better once a's first call has ended.

    Args:
        scouts: a's first call goes ahead.
    """

    def __init__(self, *, scouts):
        self.scouts = scouts
        self.has_news = False

    def predict(self, application):
        return Prediction({"a": 1e6, "b": 5e5}[application.app_id], "prior")

    def begin(self, app_id, call):
        return CallTold(self.scouts and app_id == "a" and call.id == 0, 20)

    def end(self, app_id, call):
        self.has_news |= app_id == "a" and call.id == 0

    def revisions(self):
        if not self.has_news:
            return ()
        self.has_news = False
        return [Revised("a", 3e4, self.scouts)]


def chain(app_id, number):
    calls = [
        {
            "id": place,
            "after": [place - 1] if place else [],
            "prompt_tokens": 600,
            "output_tokens": 20,
        }
        for place in range(number)
    ]
    return Arriving(app_id=app_id, app_type="t", calls=calls, arrival_s=0.0)


def finishes(costs):
    """Run a, of two calls, and b, of six, where one call fits at a time; return their ends."""
    server = Server(STEPS, num_blocks=60, overlap=False)
    run = simulate([chain("a", 2), chain("b", 6)], server, "justitia", costs=costs)
    return {each.app_id: each.finish_s for each in run.outcomes}


def test_an_over_predicted_application_waits_unless_it_sends_a_scout():
    """Its first call goes ahead, its cost is known then, and it is served before the larger."""
    waits, scouted = (finishes(Learns(scouts=scouts)) for scouts in (False, True))
    assert waits["a"] > scouted["a"]
    assert waits["a"] > waits["b"]
    assert scouted["a"] < scouted["b"]
