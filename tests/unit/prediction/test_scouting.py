"""Where a scout call pays."""

import math

import pytest

from justitia_sdk.plan import Plan, Stage
from justitia_server.prediction.scouting import LEAST_EVIDENCE, Scouting

OPEN = Plan((Stage("extract"), Stage("query", calls=(1, 20))))
EXACT = Plan((Stage("map", calls=20), Stage("reduce")))
AT_ONCE = Plan((Stage("map", calls=(1, 20)), Stage("reduce")))


def scouting(number, *, before, after, tenant="default"):
    """Return what is known after *number* ends with the given log-errors."""
    known = Scouting()
    for place in range(number):
        sign = 1 if place % 2 else -1  # over- and under-predicted in turn
        known.observe(
            tenant, "t",
            at_arrival=1_000 * math.exp(sign * before),
            after_first=1_000 * math.exp(sign * after),
            cost=1_000,
        )  # fmt: skip
    return known


@pytest.mark.parametrize(("after", "pays"), [(0.3, True), (0.55, True), (0.7, False), (1.5, False)])
def test_it_pays_where_little_of_the_error_is_left(after, pays):
    """At most 0.6 of it."""
    known = scouting(20, before=1.0, after=after)
    assert known.pays("default", "t") == pays
    assert known.error_left("default", "t") == pytest.approx(after)


def test_it_takes_evidence():
    """Eight applications."""
    assert not scouting(LEAST_EVIDENCE - 1, before=1.0, after=0.1).pays("default", "t")
    assert scouting(LEAST_EVIDENCE, before=1.0, after=0.1).pays("default", "t")


@pytest.mark.parametrize(
    ("plan", "pays"), [(OPEN, True), (EXACT, False), (AT_ONCE, False), (None, False)]
)
def test_without_evidence_it_pays_where_the_plan_leaves_later_calls_open(plan, pays):
    """How many come at once is seen without waiting for the first of them."""
    assert Scouting().pays("default", "t", plan) == pays
    too_little = scouting(LEAST_EVIDENCE - 1, before=1.0, after=0.9)
    assert too_little.pays("default", "t", plan) == pays


@pytest.mark.parametrize(("after", "pays"), [(0.3, True), (0.9, False)])
def test_evidence_overrules_the_plan(after, pays):
    """Whatever it leaves open."""
    assert scouting(LEAST_EVIDENCE, before=1.0, after=after).pays("default", "t", OPEN) == pays


def test_where_all_is_known_at_arrival_nothing_is_to_be_found_out():
    """However much smaller a small error gets."""
    assert not scouting(20, before=0.1, after=0.0).pays("default", "t")


def test_another_tenants_type_is_another():
    """Of the same name."""
    known = scouting(20, before=1.0, after=0.1)
    assert not known.pays("b", "t")


def test_a_few_out_of_all_measure_do_not_decide():
    """Each counts as off by ten at most."""
    known = scouting(20, before=1.0, after=0.3)
    known.observe("default", "t", at_arrival=1_000, after_first=1e300, cost=1_000)
    assert known.pays("default", "t")
