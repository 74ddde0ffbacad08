"""Revisions told to the engines: away from calls, together, one telling at a time."""

import asyncio

import pytest

from justitia_server.api import revising
from justitia_server.api.revising import Reviser
from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.prediction.base import Case, Prediction, Question, Standing
from justitia_server.prediction.following import Following


class Doubles:
    """A predictor that says twice as much each time."""

    def revise(self, case):
        case.prediction = Prediction(2 * case.prediction.cost, "own")
        return case.prediction


class Control:
    """Takes note of what the engines are asked; answers when it may."""

    def __init__(self, error=None):
        self.told = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error = error
        self.num_at_once = 0

    async def ask(self, operation, *, revisions):
        assert operation == "revise"
        self.num_at_once += 1
        assert self.num_at_once == 1
        self.told.append(list(revisions))
        await self.may_answer.wait()
        self.num_at_once -= 1
        if self.error is not None:
            raise self.error


def following():
    one = Following(Case(Question("t"), Standing(), Prediction(10.0, "own")), KV_TOKEN_TIME)
    one.begin_call(5)
    return one


def ended(reviser, app_id, one):
    one.end_call(5, 5)
    reviser.note(app_id, one)


def test_what_has_changed_is_told_together():
    """An application that changed twice is asked about once."""

    async def play():
        control = Control()
        reviser = Reviser(Doubles(), control)
        a, b = following(), following()
        for app_id, one in (("a", a), ("b", b), ("a", a)):
            ended(reviser, app_id, one)
        await reviser.revise()
        return control.told

    assert asyncio.run(play()) == [[("a", 20.0, False), ("b", 20.0, False)]]


def test_what_a_plan_told_on_the_way_comes_to_is_told():
    """With what else there is to tell, and downwards in the order only."""

    async def play():
        control = Control()
        reviser = Reviser(Doubles(), control)
        for cost in (1.0, 2.0):
            reviser.tell("b", cost)
        ended(reviser, "a", following())
        for _ in range(2):
            await reviser.revise()
        return control.told

    assert asyncio.run(play()) == [[("b", 2.0, False), ("a", 20.0, False)]]


def test_without_news_nobody_is_asked():
    """Calls of a first wave that begin are none."""

    async def play():
        control = Control()
        reviser = Reviser(Doubles(), control)
        reviser.note("a", following())
        await reviser.revise()
        return control.told

    assert asyncio.run(play()) == []


def test_nothing_is_told_while_a_telling_is_not_answered(monkeypatch):
    """What comes meanwhile goes together in the next."""
    monkeypatch.setattr(revising, "INTERVAL_S", 0)

    async def settled():
        for _ in range(20):
            await asyncio.sleep(0)

    async def play():
        control = Control()
        control.may_answer.clear()
        reviser = Reviser(Doubles(), control)
        reviser.start()
        one = following()
        for _ in range(3):
            ended(reviser, "a", one)
            await settled()
        assert control.told == [[("a", 20.0, False)]]
        control.may_answer.set()
        await settled()
        return control.told

    assert asyncio.run(play()) == [[("a", 20.0, False)], [("a", 40.0, False)]]


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("engine is dead")])
def test_an_engine_that_does_not_answer_stops_nothing(error):
    """The next news are told again."""

    async def play():
        control = Control(error)
        reviser = Reviser(Doubles(), control)
        one = following()
        for _ in range(2):
            ended(reviser, "a", one)
            await reviser.revise()
        return len(control.told)

    assert asyncio.run(play()) == 2


def test_a_predictor_that_fails_stops_nobody_else():
    """The others are told."""

    class Fails(Doubles):
        def revise(self, case):
            if case.question.app_type == "bad":
                raise ZeroDivisionError
            return super().revise(case)

    async def play():
        control = Control()
        reviser = Reviser(Fails(), control)
        bad = Following(Case(Question("bad"), Standing(), Prediction(1.0, "own")), KV_TOKEN_TIME)
        bad.begin_call(5)
        ended(reviser, "bad", bad)
        ended(reviser, "good", following())
        await reviser.revise()
        return control.told

    assert asyncio.run(play()) == [[("good", 20.0, False)]]
