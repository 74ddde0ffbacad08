"""Receipts: what they say, and when they are asked for."""

from __future__ import annotations

import math

import pytest

from justitia_server.bench import receipts as module
from justitia_server.bench.receipts import UNKNOWN, Receipts, read_receipt

TOLD = {
    "state": "finished",
    "fair_finish_is_provisional": False,
    "weight": 2.0,
    "virtual_start": 100.0,
    "virtual_finish": 150.0,
    "predicted_cost": 400.0,
    "attained_cost": 120,
    "lateness_s": -0.5,
    "lateness_iterations": -20,
    "bound_iterations": 70.0,
}


class Ended:
    """An application whose receipt is final when it is asked for the *settles*-th time."""

    def __init__(self, app_id, *, settles=1, is_known=True):
        self.app_id = app_id
        self.num_asked = 0
        self._settles = settles
        self._is_known = is_known

    async def ask_receipt(self):
        self.num_asked += 1
        if not self._is_known:
            return None
        return {**TOLD, "fair_finish_is_provisional": self.num_asked < self._settles}


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)


def test_what_was_predicted_is_what_the_tag_was_formed_with():
    """The server's predicted_cost follows the use; tags do not, and are per weight."""
    receipt = read_receipt(TOLD)
    assert (receipt.predicted_cost, receipt.attained_cost) == (100.0, 120)
    assert (receipt.lateness_s, receipt.late_iterations) == (-0.5, -20)
    assert (receipt.bound_iterations, receipt.is_final) == (70.0, True)


@pytest.mark.parametrize(
    "changed",
    [
        {"fair_finish_is_provisional": True},
        {"state": "running", "lateness_s": None, "lateness_iterations": None},
    ],
)
def test_a_lateness_that_may_move_is_not_known(changed):
    """It is asked for again."""
    receipt = read_receipt({**TOLD, **changed})
    assert math.isnan(receipt.lateness_s)
    assert math.isnan(receipt.late_iterations)
    assert not receipt.is_final


async def test_everyone_is_asked_until_final(no_pause):
    """Those that are final are left alone; one the server does not know is given up."""
    ended = [Ended("a"), Ended("b", settles=3), Ended("c", is_known=False)]
    receipts = Receipts()
    for each in ended:
        await receipts.note_end(each)
    await receipts.settle()
    assert [each.num_asked for each in ended] == [1, 3, 1]
    assert receipts.of("b").is_final
    assert receipts.of("c") is UNKNOWN


async def test_waiting_for_a_receipt_has_an_end(no_pause):
    """What is known by then counts."""
    receipts = Receipts()
    await receipts.note_end(Ended("a", settles=math.inf))
    await receipts.settle(limit_s=0.01)
    assert receipts.of("a").attained_cost == 120


async def test_many_applications_are_asked_before_the_server_forgets_them():
    """The first is, when more than are left to settle have ended since."""
    ended = [Ended(str(number)) for number in range(module.NUM_LEFT_TO_SETTLE + 3)]
    receipts = Receipts()
    for each in ended:
        await receipts.note_end(each)
    assert [each.num_asked for each in ended[:5]] == [1, 1, 1, 0, 0]
