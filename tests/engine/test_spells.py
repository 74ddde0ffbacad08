"""Waiting and running as the books have them, against what vLLM's scheduler holds."""

import json
import random

import pytest

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.control import control
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts

pytestmark = pytest.mark.engine

NAMES = ("a", "b", "c")
STEP_S = 0.5


class WoundByHand:
    """An engine whose steps take half a second, and what its applications did in each."""

    def __init__(self, *, overlap):
        options = OfflineOptions(
            60, max_model_len=1024, max_num_batched_tokens=2048, overlap=overlap
        )
        self.now = 0.0
        self.engine = OfflineEngine(options)
        self.engine.scheduler.clock = lambda: self.now
        self.waited = dict.fromkeys(NAMES, 0.0)
        self.ran = dict.fromkeys(NAMES, 0.0)
        self.num_preempted = 0

    def add(self, name, number, prompt, output, **call):
        told = pack(ApplicationFacts(name, predicted_cost=1e5), CallFacts(**call))
        self.engine.add(
            f"{name}-{number}",
            prompt=prompt,
            num_output_tokens=output,
            extra_args={EXTRA_ARGS_KEY: told},
        )

    def step(self):
        if (step := self.engine.step()) is not None:
            self.num_preempted += step.num_preempted
        scheduler = self.engine.scheduler
        running = {request.request_id[0] for request in scheduler.running}
        here = {request_id[0] for request_id in scheduler.requests}
        for name in NAMES:
            self.ran[name] += STEP_S * (name in running)
            self.waited[name] += STEP_S * (name in here - running)
        self.now += STEP_S

    def show(self, name):
        told = json.dumps({"app_id": name})
        return json.loads(control(self.engine.scheduler, "show", told))["application"]

    def agrees(self):
        for name in NAMES:
            if (shown := self.show(name)) is not None:
                assert (shown["wait_s"], shown["run_s"]) == (self.waited[name], self.ran[name])


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_waited_run_or_idle(overlap, seed):
    """With memory so scarce that calls are preempted, and some aborted wherever they are."""
    draw, wound = random.Random(seed), WoundByHand(overlap=overlap)
    for number in range(60):
        wound.add(draw.choice(NAMES), number, draw.randint(5, 200), draw.randint(1, 80))
        for _ in range(draw.randint(0, 3)):
            wound.step()
        if draw.random() < 0.2 and (here := list(wound.engine.scheduler.requests)):
            wound.engine.abort(draw.choice(here))
        wound.agrees()
    while wound.engine.has_work:
        wound.step()
        wound.agrees()
    assert wound.num_preempted > 0
    assert any(wound.waited.values())
    assert all(wound.ran.values())
    assert not wound.engine.scheduler.errors


def test_a_call_that_never_ran_only_waited():
    """Aborted in the queue: run is nought to the last digit."""
    wound = WoundByHand(overlap=False)
    wound.add("a", 0, 20, 5)
    wound.now = 3.0
    wound.engine.abort("a-0")
    shown = wound.show("a")
    assert (shown["wait_s"], shown["run_s"], shown["state"]) == (3.0, 0.0, "idle")


def test_a_tool_is_shown_as_told():
    """While it is at work, and its time afterwards."""
    wound = WoundByHand(overlap=False)
    wound.add("a", 0, 20, 1)
    wound.step()
    told = {"app_id": "a", "kind": "tool_start", "name": "look", "expected_s": 60}
    control(wound.engine.scheduler, "event", json.dumps(told))
    wound.now += 4
    shown = wound.show("a")
    assert (shown["tool_expected_s"], shown["tool_s"]) == (60, 4)
    told = {"app_id": "a", "kind": "tool_end", "name": "look"}
    control(wound.engine.scheduler, "event", json.dumps(told))
    wound.now += 4
    shown = wound.show("a")
    assert (shown["at_tool_since"], shown["tool_expected_s"], shown["tool_s"]) == (None, None, 4)


def test_an_announcement_that_is_no_news_changes_no_prediction():
    """What was revised meanwhile stays; news are not taken below what was used."""
    wound = WoundByHand(overlap=False)
    wound.add("a", 0, 20, 50)
    for _ in range(10):
        wound.step()
    scheduler = wound.engine.scheduler
    scheduler.ledger.revise("a", 5e3, wound.now)
    facts = {"app_id": "a", "predicted_cost": 1.0, "declared_cost": 1.0}
    for revises, cost in ((False, 5e3), (True, wound.show("a")["attained_cost"])):
        told = json.dumps({"facts": facts, "revises": revises})
        control(scheduler, "announce", told)
        assert wound.show("a")["predicted_cost"] == cost
    assert cost > 200
