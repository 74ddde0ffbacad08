"""Weighing a model against what is said without it."""

import pytest

from justitia_server.prediction.rivals import Rivals


def weight(number, *, model, other):
    """Return the model's weight after *number* ends where both were off by the given factors."""
    rivals = Rivals()
    for _ in range(number):
        rivals.observe("a", "t", running=False, model=model, other=other, cost=1.0)
    return rivals.weight("a", "t", running=False)


def test_who_was_closer_counts_for_more():
    """The weights are those of the other's square errors."""
    assert weight(20, model=1.1, other=3.0) > 0.85
    assert weight(20, model=1.1, other=3.0) > 4 * weight(20, model=3.0, other=1.1)


def test_equal_errors_weigh_equally_in_the_end():
    """What was supposed before fades."""
    assert weight(20, model=5.0, other=5.0) == pytest.approx(0.5, abs=0.03)
    assert weight(0, model=5.0, other=5.0) < 0.3


def test_records_are_kept_apart():
    """Of another tenant, of another type, and of those that run nothing is said."""
    rivals = Rivals()
    for _ in range(20):
        rivals.observe("a", "t", running=False, model=1.0, other=9.0, cost=1.0)
    unknown = Rivals().weight("a", "t", running=False)
    assert rivals.weight("a", "t", running=False) > unknown
    for tenant, app_type, running in (("b", "t", False), ("a", "u", False), ("a", "t", True)):
        assert rivals.weight(tenant, app_type, running=running) == unknown


def test_one_out_of_all_measure_does_not_decide():
    """An error counts as a factor of ten at most."""
    rivals = Rivals()
    for _ in range(20):
        rivals.observe("a", "t", running=False, model=1.5, other=4.0, cost=1.0)
    before = rivals.weight("a", "t", running=False)
    rivals.observe("a", "t", running=False, model=1e300, other=4.0, cost=1.0)
    assert rivals.weight("a", "t", running=False) > 0.8 * before


def test_small_errors_outweigh_what_was_supposed():
    """A plan that is true to the per cent is followed, and a model off by a tenth is not."""
    assert weight(20, model=1.1, other=1.01) < 0.05
    assert weight(20, model=1.01, other=1.1) > 0.95
