"""Which plan counts when an application tells several."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.plan import Plan, Stage
from justitia_server.api.plans import goes_beyond

NUMBERS = st.integers(0, 3)
CALLS = NUMBERS | st.tuples(NUMBERS, NUMBERS).map(lambda pair: (min(pair), max(pair)))
STAGES = st.builds(Stage, st.sampled_from("abc"), CALLS, loop=st.integers(1, 2))
PLANS = st.none() | st.lists(STAGES, max_size=4).map(lambda stages: Plan(tuple(stages)))


def plan(*stages):
    return Plan(tuple(Stage(name, calls) for name, calls in stages))


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (plan(("a", 1)), None),
        (plan(("a", 1), ("b", 40)), plan(("a", 1))),
        (plan(("b", 40), ("a", 1)), plan(("a", 1))),
        (plan(("a", 40)), plan(("a", 1))),
        (plan(("a", 40)), plan(("a", (10, 100)))),
        (plan(("a", (40, 80))), plan(("a", 40))),
        (Plan((Stage("a", 8, loop=5),)), plan(("a", 39))),
    ],
)
def test_more_stages_or_more_calls_count(told, known):
    """In any order of stages; a range promises its least. The other way round they do not."""
    assert goes_beyond(told, known)
    assert not goes_beyond(known, told)


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (None, plan(("a", 1))),
        (Plan(()), None),
        (plan(("a", 1)), plan(("a", 1))),
        (plan(("b", 40)), plan(("a", 1))),
        (plan(("a", 40), ("b", 1)), plan(("a", 1), ("b", 2))),
        (Plan((Stage("a", 1, output_tokens=9),)), plan(("a", 1))),
    ],
)
def test_nothing_else_counts(told, known):
    """Nor plans that have something else instead, nor other lengths."""
    assert not goes_beyond(told, known)


@given(PLANS, PLANS, PLANS)
def test_whatever_the_order_nothing_flaps(one, two, three):
    """It is a strict order: no two plans go beyond each other, nor do three in a circle."""
    assert not goes_beyond(one, one)
    assert not (goes_beyond(one, two) and goes_beyond(two, one))
    if goes_beyond(one, two) and goes_beyond(two, three):
        assert goes_beyond(one, three)
