"""From an arriving call to the facts the scheduler reads."""

import asyncio
from dataclasses import dataclass, replace
from enum import Enum
from types import SimpleNamespace

import pytest

from justitia_sdk.plan import Plan, Stage
from justitia_sdk.protocol import ApplicationHints, CallHints, Hints
from justitia_server.api import intake as intake_module
from justitia_server.api.arrival import Arrival, arrival
from justitia_server.api.intake import Intake
from justitia_server.engine.carrier import EXTRA_ARGS_KEY, unpack
from justitia_server.fairness.cost import call_cost
from justitia_server.prediction.online import OnlinePredictor


class OutputKind(Enum):
    """As vLLM's RequestOutputKind."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class Sampling:
    """The fields of vLLM's SamplingParams that matter here."""

    extra_args: dict | None = None
    max_tokens: int | None = 64
    min_tokens: int = 0
    ignore_eos: bool = False
    n: int = 1
    output_kind: OutputKind = OutputKind.DELTA


@pytest.fixture
def intake():
    return Intake(OnlinePredictor())


def marked(intake, arrived, sampling=None, prompt_tokens=10):
    """Return the facts of one call that came with *arrived*."""
    sampling = sampling or Sampling()
    token = arrival.set(arrived)
    try:
        intake.mark({"prompt_token_ids": [0] * prompt_tokens}, sampling)
    finally:
        arrival.reset(token)
    return unpack(sampling.extra_args[EXTRA_ARGS_KEY])


def arrived(app=None, *, tenant="default", attempt=0, call=None, **fields):
    application = ApplicationHints(app, **fields) if app else None
    return Arrival(Hints(application, call or CallHints()), tenant, attempt)


def test_hints_become_facts(intake):
    """Identity, weight, plan and call go through; the cost is predicted here."""
    plan = Plan((Stage("map", calls=3, prompt_tokens=20, output_tokens=5),))
    call = CallHints("c1", 1, "map", 2, last=True)
    facts, call_facts = marked(intake, arrived("A", type="t", weight=2.0, plan=plan, call=call))
    assert (facts.app_id, facts.app_type, facts.weight) == ("A", "t", 2.0)
    assert facts.predicted_cost == 3 * call_cost(20, 5)
    assert (call_facts.call_id, call_facts.attempt, call_facts.stage_index) == ("c1", 1, 2)
    assert call_facts.last


def test_an_application_is_predicted_once(intake):
    """A later call, with a longer prompt, carries the same cost."""
    first, _ = marked(intake, arrived("A"), prompt_tokens=10)
    second, _ = marked(intake, arrived("A"), prompt_tokens=1000)
    assert first == second


def test_an_unhinted_call_is_its_own_application(intake):
    """Two calls, two applications, each ending with its call."""
    one, _ = marked(intake, arrived())
    two, _ = marked(intake, arrived())
    assert one.app_id != two.app_id
    assert one.app_type == "unhinted"
    assert one.is_single_call


def test_a_forced_length_is_believed(intake):
    """With ignore_eos a call produces exactly max_tokens."""
    facts, _ = marked(intake, arrived(), Sampling(max_tokens=300, ignore_eos=True))
    assert facts.predicted_cost == call_cost(10, 300)


def test_a_child_is_charged_to_its_root(intake):
    """The parent's id is the application's."""
    facts, _ = marked(intake, arrived("child", parent="root"))
    assert facts.app_id == "root"


def test_tenants_cannot_meet_each_others_ids(intake):
    """The same id from two tenants is two applications."""
    one, _ = marked(intake, arrived("A", tenant="key-1"))
    two, _ = marked(intake, arrived("A", tenant="key-2"))
    assert one.app_id != two.app_id
    assert one.tenant == "key-1"


def test_a_client_cannot_speak_as_us(intake):
    """What a client puts under our key is overwritten, and dropped where we say nothing."""
    forged = Sampling(extra_args={EXTRA_ARGS_KEY: "forged", "other": 1})
    facts, _ = marked(intake, arrived("A"), forged)
    assert facts.app_id == "A"
    assert forged.extra_args["other"] == 1
    outside = Sampling(extra_args={EXTRA_ARGS_KEY: "forged"})
    intake.mark({}, outside)
    assert outside.extra_args is None


def test_the_clients_own_retry_count_is_the_attempt(intake):
    """Where the hints name no attempt, the official client's header does."""
    _, call = marked(intake, arrived("A", attempt=2))
    assert call.attempt == 2


def test_a_broken_predictor_does_not_break_the_call():
    """The call goes through without facts."""

    class Broken(OnlinePredictor):
        def open(self, question):
            raise ZeroDivisionError

    sampling = Sampling()
    token = arrival.set(arrived("A"))
    Intake(Broken()).mark({}, sampling)
    arrival.reset(token)
    assert sampling.extra_args is None


class Scouts(OnlinePredictor):
    """Every application is scouted."""

    def open(self, question):
        case = super().open(question)
        case.prediction = replace(case.prediction, is_scouted=True, output_tokens_per_call=33)
        return case


def test_the_first_call_of_a_scouted_application_goes_ahead():
    """By what a call of its type produces; later calls do not."""
    intake = Intake(Scouts())
    _, first = marked(intake, arrived("A"))
    _, second = marked(intake, arrived("A"))
    assert (first.is_scout, first.predicted_output_tokens) == (True, 33)
    assert (second.is_scout, second.predicted_output_tokens) == (False, None)


def test_several_samples_do_not_go_ahead():
    """Ten sequences are no small call."""
    assert not marked(Intake(Scouts()), arrived("A"), Sampling(n=10))[1].is_scout


def test_a_call_is_followed_through_the_engine_client():
    """Of an application; outputs pass as they are, and its course grows."""
    news = []
    intake = Intake(OnlinePredictor(), on_news=lambda app_id, following: news.append(app_id))
    outputs = [
        SimpleNamespace(outputs=[SimpleNamespace(index=0, token_ids=[1, 2], finish_reason=reason)])
        for reason in (None, "stop")
    ]
    passed = asyncio.run(_generated(intake, outputs, arrived("A")))
    assert passed == outputs
    assert news[-1] == "A"
    course = intake.forget("A").course
    assert (course.num_done, course.prompt_tokens, course.output_tokens) == (1, 10, 4)


def test_a_call_that_names_no_application_is_not_followed():
    """Nor is any where nothing is to be learned."""
    for intake, arriving in (
        (Intake(OnlinePredictor()), arrived()),
        (Intake(OnlinePredictor(), follows=False), arrived("A")),
    ):
        token = arrival.set(arriving)
        assert intake.mark({"prompt_token_ids": [0]}, Sampling()) is None
        arrival.reset(token)


def test_those_followed_are_bounded(monkeypatch):
    """The oldest is followed no more, and goes on being served as it was predicted."""
    monkeypatch.setattr(intake_module, "NUM_FOLLOWED", 2)
    intake = Intake(OnlinePredictor())
    before, _ = marked(intake, arrived("A"))
    for app in ("B", "C"):
        marked(intake, arrived(app))
    after, _ = marked(intake, arrived("A"))
    assert before == after
    assert intake.forget("A") is None


# -- plans told on the way ---------------------------------------------------------------

ONE = Plan((Stage("plan", prompt_tokens=10, output_tokens=5),))
BURST = Plan((*ONE.stages, Stage("map", 40, prompt_tokens=20, output_tokens=5)))
both_ways = pytest.mark.parametrize("follows", [True, False])


class Told:
    """An intake, what it tells of plans, and calls and announcements of one application."""

    def __init__(self, *, follows=True):
        self.costs = []
        self.intake = Intake(
            OnlinePredictor(), on_plan=lambda app_id, cost: self.costs.append(cost), follows=follows
        )

    def call(self, plan, **call):
        return marked(self.intake, arrived("A", plan=plan, call=CallHints(**call)))

    def post(self, plan):
        return self.intake.announce(ApplicationHints("A", plan=plan), "default")


@both_ways
def test_a_call_may_tell_a_plan_that_goes_beyond_the_first(follows):
    """The prediction is revised, and later calls carry it; the new stage has its outlook."""
    told = Told(follows=follows)
    told.call(ONE)
    facts, call = told.call(BURST, stage="map")
    cost = call_cost(10, 5) + 40 * call_cost(20, 5)
    assert told.costs == [cost]
    assert (facts.predicted_cost, call.stage_index, call.predicted_output_tokens) == (cost, 1, 5)
    assert told.call(BURST)[0] == facts


@both_ways
def test_one_plan_is_one_revision_however_it_comes(follows):
    """By two calls, and announced twice; or announced first."""
    told = Told(follows=follows)
    told.call(ONE)
    for _ in range(2):
        told.call(BURST)
        assert told.post(BURST)[1] is False
    assert len(told.costs) == 1

    told = Told(follows=follows)
    told.call(ONE)
    facts, is_news = told.post(BURST)
    assert is_news
    assert told.call(BURST)[0] == facts
    assert told.costs == []


@pytest.mark.parametrize("late", [ONE, None, Plan((Stage("other", 100),))])
def test_a_plan_that_comes_late_changes_nothing(late):
    """Its call was held up on the way, or its announcement; what is known stays."""
    told = Told()
    told.call(BURST)
    before, _ = told.call(BURST)
    assert told.call(late)[0] == before
    assert told.post(late) == (before, False)
    assert told.costs == []


def test_a_plan_smaller_than_what_was_seen_does_no_harm():
    """Ten calls have been made, then three are told: nobody is predicted below what was used."""
    told = Told()
    told.call(ONE)
    following = told.intake._following["A"]
    for _ in range(10):
        following.begin_call(10)
        following.end_call(10, 5)
    told.call(Plan((Stage("plan", 3),)))
    assert told.costs[0] >= 10 * call_cost(10, 5)


def test_a_plan_that_cannot_be_taken_up_costs_no_call_its_application():
    """It goes on as it was predicted."""

    class Broken(OnlinePredictor):
        def replan(self, case, plan):
            raise ZeroDivisionError

    intake = Intake(Broken())
    before, _ = marked(intake, arrived("A", plan=ONE))
    assert marked(intake, arrived("A", plan=BURST))[0] == before


def test_before_its_first_call_everything_may_be_told_anew():
    """Smaller, too."""
    told = Told()
    told.post(BURST)
    facts, is_news = told.post(ONE)
    assert is_news
    assert facts.predicted_cost == call_cost(10, 5)
    assert told.call(ONE)[0] == facts


def test_a_childs_plan_is_not_its_roots(intake):
    """The child is a part of what the root has told."""
    before, _ = marked(intake, arrived("root", plan=ONE))
    after, _ = marked(intake, arrived("child", parent="root", plan=BURST))
    assert before == after


def test_what_was_seen_stays_when_a_plan_is_told(intake):
    """And no call is learned from twice: two have made ten tokens."""
    marked(intake, arrived("A", plan=ONE))
    following = intake._following["A"]
    for _ in range(2):
        following.begin_call(10)
        following.end_call(10, 5)
    following.revise(intake.predictor)
    intake.announce(ApplicationHints("A", plan=BURST), "default")
    following.look_again()
    following.revise(intake.predictor)
    lengths = intake.predictor.histories.recall("default", "application").output_tokens_per_call
    assert (lengths.num_seen, lengths.mean) == (2, 5)
    assert intake.forget("A").course.num_done == 2


def test_an_application_that_outlives_its_memory_keeps_its_course(intake, monkeypatch):
    """After an hour it is predicted anew; what was seen stays."""
    marked(intake, arrived("A"))
    intake._following["A"].begin_call(10)
    intake._memory.recall("A").until_at = 0
    marked(intake, arrived("A"))
    assert intake.forget("A").course.num_begun == 1


async def _generated(intake, outputs, arriving):
    async def generate(prompt, sampling):
        for each in outputs:
            yield each

    client = SimpleNamespace(generate=generate)
    intake.attach(client)
    token = arrival.set(arriving)
    try:
        prompt = {"prompt_token_ids": [0] * 10}
        return [each async for each in client.generate(prompt, Sampling())]
    finally:
        arrival.reset(token)
