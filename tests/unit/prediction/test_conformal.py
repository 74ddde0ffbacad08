"""Intervals that hold what they promise."""

import numpy as np
import pytest

from justitia_server.prediction.conformal import away, stretch, stretches


def test_a_score_is_how_many_times_its_reach_an_outcome_is_away():
    """On the side on which it lies."""
    middle, below, above = np.full(3, 10.0), np.full(3, 2.0), np.full(3, 4.0)
    scores = away(middle, below, above, np.array([10.0, 6.0, 12.0]))
    assert scores.tolist() == [0.0, 2.0, 0.5]


def test_stretched_intervals_hold_four_of_five():
    """Of outcomes drawn as those they were made from, whatever the reach was."""
    chance = np.random.default_rng(0)
    known, new = np.abs(chance.normal(size=(2, 4000)))
    factor = stretch(known, np.ones(4000))
    assert np.mean(new <= factor) == pytest.approx(0.8, abs=0.02)


def test_weights_count():
    """A score that counts for nothing moves nothing."""
    scores, weights = np.array([1.0] * 50 + [99.0] * 50), np.array([1.0] * 50 + [0.0] * 50)
    assert stretch(scores, weights) == 1.0


def test_a_type_with_few_scores_is_drawn_towards_all():
    """One with many stays near its own."""
    scores = np.array([1.0] * 1000 + [5.0] * 100 + [5.0] * 2)
    kinds = [1] * 1000 + [2] * 100 + [3] * 2
    pooled, of_kind = stretches(scores, np.ones(len(scores)), kinds)
    assert pooled == 1.0
    assert of_kind[2] > 4
    assert of_kind[3] < 2


def test_no_scores_leave_intervals_as_they_are():
    """There is nothing to learn from."""
    assert stretch(np.zeros(0), np.zeros(0)) == 1.0
