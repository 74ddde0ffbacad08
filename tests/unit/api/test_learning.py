"""Learning from what the engines say has ended."""

import asyncio
from dataclasses import asdict, replace

from justitia_sdk.protocol import ApplicationHints
from justitia_server.api.intake import Intake
from justitia_server.api.learning import Learner
from justitia_server.fairness.cost import call_cost
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.online import OnlinePredictor

STATE = {"errors": {}}


class Control:
    """An engine with some samples."""

    process = 0

    def __init__(self, *samples):
        self.samples = samples

    async def ask(self, operation, *, after_seq):
        samples = [asdict(each) for each in self.samples if each.seq > after_seq]
        return [{"samples": samples, "state": STATE}]


def sample(seq, app_id, *, ended=True):
    return Sample(seq, app_id, "t", "default", 900.0, 1, 10, 900.0, has_ended=ended)


def polled(*samples, times=1):
    """Predict and follow application A for one call, poll; return what was kept, intake, news."""
    kept, news = [], []
    predictor = OnlinePredictor(keep=kept.append)
    intake = Intake(predictor, on_news=lambda app_id, following: news.append(app_id))
    intake.predict(ApplicationHints("A", "t"), "default")
    intake.predict(ApplicationHints("B", "t"), "default")
    case = intake._following["A"].case
    case.course.begin_call(10)
    case.course.end_call(10, 10, call_cost(10, 10))
    predictor.revise(case)
    learner = Learner(Control(*samples), intake, predictor)

    async def poll():
        for _ in range(times):
            await learner.poll()

    asyncio.run(poll())
    return kept, intake, news


def test_an_application_that_has_ended_is_an_example():
    """What was seen of it, joined with what it cost; once."""
    kept, intake, _ = polled(sample(1, "A"), times=2)
    assert [(each.cost, len(each.glimpses)) for each in kept] == [(900, 1)]
    assert intake.forget("A") is None


def test_one_that_goes_on_is_still_followed():
    """It has only used more than was told."""
    kept, intake, _ = polled(sample(1, "A", ended=False))
    assert not kept
    assert intake.forget("A") is not None


def test_one_that_goes_on_teaches_what_was_seen_of_it(monkeypatch):
    """The predictor is told of its case, as of one that has ended."""
    told = []
    monkeypatch.setattr(
        OnlinePredictor, "observe", lambda self, sample, case=None, **how: told.append(case)
    )
    _, intake, _ = polled(sample(1, "A", ended=False), sample(2, "unseen", ended=False))
    assert told == [intake.case_of("A"), None]


def test_of_several_processes_the_one_that_predicted_it_keeps_its_example():
    """Another has seen some of its calls: its type is known there, too, and it is forgotten."""
    elsewhere = replace(sample(1, "A"), predicted_by=1)
    kept, intake, _ = polled(elsewhere)
    assert not kept
    assert intake.case_of("A") is None
    assert intake.predict(ApplicationHints("C", "t"), "default").facts.predicted_cost == 900


def test_one_that_was_not_seen_teaches_its_type():
    """As after a restart of the API process."""
    kept = []
    predictor = OnlinePredictor(keep=kept.append)
    intake = Intake(predictor)
    asyncio.run(Learner(Control(sample(1, "unseen")), intake, predictor).poll())
    assert not kept
    assert intake.predict(ApplicationHints("C", "t"), "default").facts.predicted_cost == 900


def test_those_who_wait_are_asked_again():
    """More is known of their type."""
    _, _, news = polled(sample(1, "A"))
    assert news == ["B"]
