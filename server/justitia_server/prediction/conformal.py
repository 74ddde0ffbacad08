"""
Making intervals hold what they promise: conformalised quantile regression.

The score of an outcome y predicted as m in the interval (m - below, m + above) is how many times
its reach it is away: (m - y) / below or (y - m) / above. Stretching every interval by the 80 %
quantile of the scores of outcomes that were not trained on makes four of five of the next ones lie
inside. A type with few scores of its own is drawn towards what holds for all.

Reference: Romano, Patterson, Candès, NeurIPS 2019; scores scaled as in Lei et al., JASA 2018.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

COVERAGE = 0.8
NUM_POOLED = 20.0  # scores of its own from which on a type's count more than all types'
LEAST_REACH = 0.005  # of the logarithm: no interval is narrower than half a per cent

Floats = NDArray[np.float64]


def away(middle: Floats, below: Floats, above: Floats, outcome: Floats) -> Floats:
    """Return the score of each outcome: from 0, and above 1 outside of its interval."""
    off = outcome - middle
    reach = np.where(off < 0, below, above)
    scores: Floats = np.abs(off) / np.maximum(reach, LEAST_REACH)
    return scores


def stretch(scores: Floats, weights: Floats) -> float:
    """Return by what intervals with these *scores* are to be stretched; 1 without any."""
    if not len(scores):
        return 1.0
    order = np.argsort(scores)
    reached = np.cumsum(weights[order]) / weights.sum()
    wanted = min(COVERAGE * (1 + 1 / len(scores)), 1.0) - 1e-9
    place = int(np.searchsorted(reached, wanted))
    return float(scores[order][min(place, len(scores) - 1)])


def stretches(
    scores: Floats, weights: Floats, kinds: Sequence[int]
) -> tuple[float, dict[int, float]]:
    """Return the stretch of all, and that of each kind, drawn towards it while scores are few."""
    pooled = stretch(scores, weights)
    places: dict[int, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    of_kind = {}
    for kind, of in places.items():
        trust = len(of) / (len(of) + NUM_POOLED)
        of_kind[kind] = trust * stretch(scores[of], weights[of]) + (1 - trust) * pooled
    return pooled, of_kind
