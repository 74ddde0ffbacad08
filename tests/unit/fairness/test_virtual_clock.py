"""The fluid reference, against hand-solved cases and a brute-force fluid server."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import AccountingError
from justitia_server.fairness.virtual_clock import VirtualClock


def brute_force_departures(customers, feeds):
    """Serve everyone at once, weight by weight, in exact arithmetic; no heap, no virtual time."""
    remaining, batches = {}, []
    for arrivals, service in feeds:
        batches.append([])
        for name in arrivals:
            remaining[name] = Fraction(customers[name][0])
        service = Fraction(service)
        while service > 0 and remaining:
            total = sum(customers[name][1] for name in remaining)
            per_weight = min(remaining[name] / customers[name][1] for name in remaining)
            given_out = min(service, per_weight * total)
            for name in remaining:
                remaining[name] -= given_out * customers[name][1] / total
            service -= given_out
            gone = sorted(name for name in remaining if remaining[name] == 0)
            batches[-1] += gone
            for name in gone:
                del remaining[name]
    return batches, remaining


events = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 60), st.integers(1, 4)),
        st.tuples(st.just("serve"), st.integers(0, 80), st.just(0)),
    ),
    max_size=16,
)


def history_of(events):
    """Turn drawn events into customers (exact cost, weight) and feeds (arrivals, service)."""
    customers, feeds = {}, []
    for number, (what, amount, weight) in enumerate(events):
        if what == "arrive":
            customers[f"{number:02}"] = (Fraction(amount), Fraction(weight))
            feeds.append(([f"{number:02}"], 0))
        else:
            feeds.append(([], amount))
    return customers, feeds


def histories():
    return events.map(history_of)


@given(histories())
def test_departures_equal_a_brute_force_fluid_server(history):
    """The same applications leave, in the same order, to the token."""
    customers, feeds = history
    clock, left = VirtualClock(), []
    clock.virtual_time = Fraction(0)
    for arrivals, service in feeds:
        for name in arrivals:
            cost, weight = customers[name]
            clock.arrive(name, Fraction(cost), weight=weight)
        left.append(clock.advance(Fraction(service)))
    batches, remaining = brute_force_departures(customers, feeds)
    assert left == batches
    for name, rest in remaining.items():
        customer = clock._customers[name]
        assert (customer.virtual_finish - clock.virtual_time) * customer.weight == rest


@given(histories(), st.integers(1, 5))
def test_splitting_an_interval_changes_nothing(history, parts):
    """V and the departures are the same however finely service is fed."""
    customers, feeds = history
    whole, split = VirtualClock(), VirtualClock()
    whole.virtual_time = split.virtual_time = Fraction(0)
    for arrivals, service in feeds:
        for name in arrivals:
            for clock in (whole, split):
                clock.arrive(name, Fraction(customers[name][0]), weight=customers[name][1])
        left = whole.advance(Fraction(service))
        pieces = [name for _ in range(parts) for name in split.advance(Fraction(service, parts))]
        assert pieces == left
        assert split.virtual_time == whole.virtual_time


@given(histories())
def test_virtual_time_never_falls(history):
    """V grows or stands still."""
    customers, feeds = history
    clock, seen = VirtualClock(), [0]
    for arrivals, service in feeds:
        for name in arrivals:
            finish = clock.arrive(name, customers[name][0], weight=customers[name][1])
            assert finish >= clock.virtual_time
        clock.advance(service)
        seen.append(clock.virtual_time)
    assert seen == sorted(seen)


def test_worked_value_of_the_paper():
    """Capacity 100, two backlogged for 10 steps, then one for 10: V = 500 + 1000."""
    clock = VirtualClock()
    clock.arrive("a", 500)
    clock.arrive("b", 5000)
    for _ in range(20):
        clock.advance(100)
    assert clock.virtual_time == 1500


def test_weights_share_in_proportion():
    """Weight 3 against 1, cost 30 and 30: the heavy one is done after 40, V = 10 there."""
    clock = VirtualClock()
    assert clock.arrive("heavy", 30, weight=3) == 10
    assert clock.arrive("light", 30, weight=1) == 30
    assert clock.advance(39.9) == []
    assert clock.advance(0.1 + 1e-9) == ["heavy"]
    assert clock.virtual_time == pytest.approx(10)
    assert clock.advance(20) == ["light"]


def test_an_empty_reference_stands_still():
    """Service with nobody backlogged is nobody's, and the next arrival starts at V."""
    clock = VirtualClock()
    clock.arrive("a", 10)
    clock.advance(1000)
    assert clock.virtual_time == 10
    assert clock.arrive("b", 5) == 15


def test_correction_downwards_past_virtual_time_leaves_at_once():
    """What the reference gave too much is not given back."""
    clock = VirtualClock()
    clock.arrive("a", 100)
    clock.arrive("b", 100)
    clock.advance(120)  # 60 each
    assert clock.correct("a", 50) is False
    assert len(clock) == 1
    assert clock.advance(40) == ["b"]


def test_correction_upwards_after_leaving_comes_back_for_the_rest():
    """An application that left too early has the difference served from now on."""
    clock = VirtualClock()
    clock.arrive("a", 10)
    assert clock.advance(10) == ["a"]
    assert clock.correct("a", 25) is True
    assert clock.advance(14) == []
    assert clock.advance(1) == ["a"]


def test_correction_keeps_the_start():
    """F becomes S + C / w with the S of arrival."""
    clock = VirtualClock()
    clock.arrive("other", 1000)
    clock.advance(100)
    clock.arrive("a", 50, weight=2)
    clock.advance(30)
    clock.correct("a", 80)
    clock.correct("other", 1)
    left = []
    for _ in range(100):
        left += clock.advance(1)
    assert left == ["a"]
    assert clock.virtual_time == pytest.approx(100 + 80 / 2)


@pytest.mark.parametrize("cost", [0, -1, float("nan"), float("inf")])
def test_nonsense_costs_are_refused(cost):
    """A cost that makes no sense raises and changes nothing."""
    clock = VirtualClock()
    with pytest.raises(AccountingError, match="cost"):
        clock.arrive("a", cost)
    assert len(clock) == 0


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_nonsense_weights_are_refused(weight):
    """A weight that makes no sense raises and changes nothing."""
    with pytest.raises(AccountingError, match="weight"):
        VirtualClock().arrive("a", 1, weight=weight)


@pytest.mark.parametrize("service", [-1, float("nan"), float("inf")])
def test_nonsense_service_is_refused(service):
    """Service that makes no sense raises."""
    with pytest.raises(AccountingError, match="service"):
        VirtualClock().advance(service)


def test_unknown_and_double_customers_are_refused():
    """An application arrives once, and only a known one is corrected or forgotten."""
    clock = VirtualClock()
    clock.arrive("a", 1)
    with pytest.raises(AccountingError, match="arrived before"):
        clock.arrive("a", 1)
    with pytest.raises(AccountingError, match="not in the reference"):
        clock.correct("b", 1)
    with pytest.raises(AccountingError, match="not in the reference"):
        clock.forget("b")


def test_superseded_entries_do_not_pile_up():
    """Ten thousand revisions of one application leave a short heap."""
    clock = VirtualClock()
    clock.arrive("a", 1)
    for cost in range(1, 10_000):
        clock.correct("a", cost)
    assert len(clock._finishes) < 200
