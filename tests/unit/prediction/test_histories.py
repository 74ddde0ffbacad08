"""What types have cost: the latest, in bounded memory."""

import math

import pytest

from justitia_server.fairness.samples import Sample
from justitia_server.prediction.histories import NUM_COSTS_KEPT, NUM_RUNNING_KEPT, Histories


def sample(cost, *, app_type="t", unshared=None):
    return Sample(1, "app", app_type, "default", cost, 1, 10, unshared or cost)


def test_a_standing_is_median_and_spread_of_log_costs():
    """As if nothing were shared."""
    histories = Histories()
    for cost in (10, 1_000, 100):
        histories.add(sample(cost / 2, unshared=cost))
    standing = histories.standing("default", "t")
    assert standing.num_seen == 3
    assert standing.log_median == pytest.approx(math.log(100))
    assert standing.log_spread == pytest.approx(math.log(10) * math.sqrt(2 / 3))
    assert histories.of("default", "t").charged == pytest.approx(0.5)


def test_the_latest_count():
    """What a type cost long ago is forgotten; how many there were is not."""
    histories = Histories()
    for _ in range(NUM_COSTS_KEPT):
        histories.add(sample(10))
    for _ in range(NUM_COSTS_KEPT):
        histories.add(sample(1_000))
    standing = histories.standing("default", "t")
    assert standing.num_seen == 2 * NUM_COSTS_KEPT
    assert standing.log_spread == pytest.approx(0, abs=1e-9)
    assert standing.log_median == pytest.approx(math.log(1_000))


def test_ten_thousand_names_are_bounded():
    """The coldest are merged into one of their tenant's."""
    histories = Histories(most_types=100)
    for number in range(10_000):
        histories.add(sample(50, app_type=f"type-{number}"))
    assert histories.of("default", "type-9899") is None
    assert histories.of("default", "type-9900") is not None
    rest = histories.rest("default")
    assert (rest.num_seen, len(rest.costs)) == (9_900, NUM_COSTS_KEPT)
    assert rest.mean_cost() == pytest.approx(50)


def test_those_running_count_until_they_have_ended():
    """Small applications end first: without the others a type looks too cheap."""
    histories = Histories()
    histories.add(sample(100))
    history = histories.of("default", "t")
    history.note_running(1, 500)
    history.note_running(1, 900)  # the same, asked again
    assert history.mean_cost() == pytest.approx(500)
    assert histories.standing("default", "t").log_median == pytest.approx(math.log(300))
    history.drop_running(1)
    assert history.mean_cost() == pytest.approx(100)


def test_running_ones_that_never_end_are_forgotten():
    """A bounded number, the latest."""
    history = Histories().recall("default", "t")
    for key in range(10 * NUM_RUNNING_KEPT):
        history.note_running(key, 10)
    assert len(history.running) == NUM_RUNNING_KEPT


def test_running_ones_that_were_given_up_are_forgotten():
    """An aborted application never ends: it counts no more when many others have."""
    history = Histories().recall("default", "t")
    history.note_running(1, 10)
    for _ in range(NUM_RUNNING_KEPT):
        history.add(sample(10))
    assert not history.running


def test_the_mean_of_those_that_cost_more():
    """What is left of an application that has cost so much already."""
    history = Histories().recall("default", "t")
    for cost in (10, 100, 300):
        history.add(sample(cost))
    assert history.mean_cost(above=50) == pytest.approx(200)
    assert history.mean_cost(above=500) is None
