"""A small part of `make prove`, on vLLM's real scheduler: the bound, games, starvation."""

import pytest

from proofs import claims, gaming, starvation
from proofs.claims import ADVERSARIES, CLAIMS
from proofs.driver import Application, Server, run

pytestmark = pytest.mark.engine

SEEDS = {"one stage": 4, "several stages": 3}  # of each claim; others 2


@pytest.mark.parametrize("name", CLAIMS)
def test_no_application_is_later_than_its_limit(name):
    """Whatever the workload: vLLM's scheduler keeps the bound, and the books agree with it."""
    for seed in range(SEEDS.get(name, 2)):
        measured = claims.measure(name, 10_000 + seed)
        assert measured.complaints == ()
        assert all(measured.shares[form.__name__] <= 1 for form in CLAIMS[name].held)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_bad_workloads_break_the_forms_that_are_said_to_be_false(name):
    """What is said not to hold does not, and what is said to hold does."""
    measured = claims.measure_adversary(name)
    assert measured.complaints == ()
    assert all(measured.shares[form.__name__] > 1 for form in ADVERSARIES[name].broken)
    assert all(measured.shares[form.__name__] <= 1 for form in ADVERSARIES[name].held)


@pytest.mark.parametrize("seed", range(2))
def test_calls_are_first_admitted_in_the_order_of_the_tags(seed):
    """With every application there, preemptions and overlap change nothing in the order."""
    expected, without_overlap, with_overlap = claims.orders_of_admission(10_000 + seed)
    assert without_overlap == expected
    assert with_overlap == expected


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "overlap"])
def test_one_call_alone_is_late_by_its_length(overlap):
    """p = d = 100 on 10,000 tokens: the delivered reference ends with it, after 100 iterations."""
    server = Server(num_blocks=626, overlap=overlap)
    result = run([Application("alone", 0, (((100, 100),),))], server)
    alone = result.outcomes["alone"]
    assert result.complaints == []
    assert (alone.jct, alone.lateness) == (100, 0)
    assert alone.bound == pytest.approx(200 + 100 * (100 + 50.5 + 15) / server.capacity)


def test_never_ending_changes_nothing_and_splitting_loses():
    """In a small setting: an end nobody tells of earns nothing, fifty pieces are later than one."""
    honest = gaming.play(gaming.Setting(0, 12), gaming.HONEST, "predicted")
    never, split = (
        gaming.compare(gaming.GAMES[name], "predicted", honest)
        for name in ("never ends", "splits into 50")
    )
    assert (never.complaints, split.complaints) == ((), ())
    assert (never.gain, never.extra) == (0, 0)
    assert split.gain <= 0.05
    assert split.extra <= 1


def test_declaring_a_tenth_does_not_pay_with_the_model_in_the_loop():
    """Nor does it hurt anybody; what the model says is in force, and revised."""
    honest = gaming.play(gaming.Setting(0, 12), gaming.HONEST, "modelled")
    gamed = gaming.compare(gaming.TENTH, "modelled", honest)
    assert gamed.complaints == ()
    assert gamed.gain <= 0.05
    assert gamed.extra <= 1


def test_a_large_application_is_not_held_up_by_more_small_ones():
    """Under Justitia it is done when fair sharing would have done it; shortest-first starves it."""
    fair, starved = (starvation.starve(policy, 100) for policy in ("justitia", "srjf"))
    assert fair.complaints == ()
    assert fair.large_jct_s <= fair.large_fair_s
    assert starved.large_jct_s > 100
