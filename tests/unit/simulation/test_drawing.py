"""Workloads drawn from applications and arrivals."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import ConfigurationError
from justitia_server.simulation.arrivals import Stamp
from justitia_server.simulation.drawing import Draw, draw_workload, offered_load
from justitia_server.simulation.workload import Application

STAMPS = [Stamp(float(number * number), f"t{number % 3}") for number in range(60)]


def family(name, number, *, prompt=100):
    return [
        Application(
            app_id=f"{name}-{index}",
            app_type=name,
            calls=[{"id": 0, "prompt_tokens": prompt + index, "output_tokens": 10}],
        )
        for index in range(number)
    ]


FAMILIES = {"small": family("small", 3), "large": family("large", 50, prompt=2000)}


@given(st.integers(2, 60), st.floats(0.1, 5), st.integers(0, 1000))
def test_the_load_is_the_one_asked_for(number, load, seed):
    """By time alone; every application is as it was."""
    draw = Draw(number, load, rate=1e5)
    workload = draw_workload(FAMILIES, STAMPS, draw, seed)
    assert offered_load(workload, 1e5) == pytest.approx(load)
    known = {each.app_id: each for of in FAMILIES.values() for each in of}
    for each in workload:
        assert each.calls == known[each.app_id.partition("#")[0]].calls
    assert len({each.app_id for each in workload}) == number
    arrivals = [each.arrival_s for each in workload]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] == 0


def test_families_are_mixed_evenly():
    """Though one has three applications only."""
    workload = draw_workload(FAMILIES, STAMPS, Draw(21, 1.0, 1e5), 0)
    numbers = Counter(each.app_type for each in workload)
    assert sorted(numbers.values()) == [10, 11]


def test_equal_seeds_draw_equal_workloads_and_others_do_not():
    """Everything follows from the seed."""
    drawn = [draw_workload(FAMILIES, STAMPS, Draw(20, 1.0, 1e5), seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_tenants_are_those_of_the_stamps_if_asked_for():
    """Else nobody is named."""
    draws = (Draw(20, 1.0, 1e5, with_tenants=kept) for kept in (True, False))
    tenants = [{each.tenant for each in draw_workload(FAMILIES, STAMPS, d, 0)} for d in draws]
    assert tenants == [{"t0", "t1", "t2"}, {""}]


def test_applications_with_a_longer_call_are_left_out():
    """Those of 102 prompt tokens and 10 more."""
    workload = draw_workload(
        {"small": family("small", 3)}, STAMPS, Draw(10, 1.0, 1e5, most_call_tokens=111), 0
    )
    assert {each.calls[0].prompt_tokens for each in workload} == {100, 101}


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (Draw(61, 1.0, 1e5), "61 applications need as many arrivals, not 60"),
        (Draw(5, 1.0, 1e5, most_call_tokens=50), "no application of .* within 50 tokens"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, said):
    """With what is missing."""
    with pytest.raises(ConfigurationError, match=said):
        draw_workload(FAMILIES, STAMPS, draw, 0)


@pytest.mark.parametrize(
    "told", [{"num_applications": 0}, {"load": 0.0}, {"load": float("nan")}, {"rate": -1.0}]
)
def test_nonsense_is_refused(told):
    """Before anything is drawn."""
    with pytest.raises(ConfigurationError):
        Draw(**{"num_applications": 1, "load": 1.0, "rate": 1.0, **told})
