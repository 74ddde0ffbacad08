"""
What a type's own applications add to the network: a small linear correction, one a type and state.

The network is shared, so it says of each type mostly what holds for all. Where a type has enough
examples, ridge regression on the errors that the network makes on examples it has not seen moves
its answers towards the type's own. How strongly is chosen by cross-validation; "not at all" is
among the choices and wins unless the error gets smaller by 3 %. So few samples change little.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STRENGTHS = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
LEAST_ROWS = 8
_LEAST_GAIN = 0.03
_MOST_INPUT = 4.0  # standard deviations
_LEAST_SPREAD = 0.1
_ANSWER_FACTOR = 3.0  # the network's own answer, the last input, is believed sooner than features
_NUM_MEAN = 5.0  # rows from which the mean error counts more than none

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correction:
    """
    A linear function of features and the network's answer, added to the logarithm of the cost.

    Attributes:
        mean: Of each input in training.
        scale: Of each input, one over its spread.
        weights: Of each input.
        bias: Added to all.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float

    def __call__(self, inputs: Floats) -> Floats:
        """Return (rows,) for (rows, inputs)."""
        known = ((inputs - self.mean) * self.scale).clip(-_MOST_INPUT, _MOST_INPUT)
        corrected: Floats = known @ self.weights + self.bias
        return corrected


def fit_correction(
    inputs: Floats, errors: Floats, weights: Floats, parts: NDArray[np.int64]
) -> tuple[Correction | None, Floats]:
    """
    Learn what to add to the network's answers, and what it adds to rows left out.

    Args:
        inputs: (rows, inputs): the features, and the network's answer relative to the base.
        errors: True minus predicted logarithm of the cost, by a member that has not seen the row.
        weights: How much each row counts.
        parts: Rows of one part are left out together.

    Returns:
        The correction, None where none helps; and its values for the rows, each without its part.
    """
    nothing = np.zeros(len(errors))
    if len(errors) < LEAST_ROWS:
        return None, nothing
    mean = np.average(inputs, axis=0, weights=weights)
    spread = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=weights))
    scale = 1 / np.maximum(spread, _LEAST_SPREAD)
    known = ((inputs - mean) * scale).clip(-_MOST_INPUT, _MOST_INPUT)
    factors = np.ones(inputs.shape[1])
    factors[-1] = _ANSWER_FACTOR
    rows = _Rows(known * factors, errors, weights / weights.mean(), parts)
    least, best, values = (1 - _LEAST_GAIN) * rows.error(nothing), None, nothing
    for strength in STRENGTHS:
        without = rows.left_out(strength)
        if (error := rows.error(without)) < least:
            least, best, values = error, strength, without
    if best is None:
        return None, nothing
    solved, bias = rows.solve(best, np.ones(len(errors), dtype=bool))
    return Correction(mean, scale, solved * factors, bias), values


@dataclass(frozen=True, slots=True)
class _Rows:
    known: Floats
    errors: Floats
    weights: Floats
    parts: NDArray[np.int64]

    def error(self, values: Floats) -> float:
        """Return the squared error that is left by *values*."""
        return float(self.weights @ (self.errors - values) ** 2)

    def left_out(self, strength: float) -> Floats:
        """Return the correction of each row, learned without its part."""
        values = np.zeros(len(self.errors))
        for part, others in self._splits():
            solved, bias = self.solve(strength, others)
            values[part] = self.known[part] @ solved + bias
        return values

    def solve(self, strength: float, which: NDArray[np.bool_]) -> tuple[Floats, float]:
        """Return weights and bias of ridge regression on the rows *which*."""
        known, errors, weights = self.known[which], self.errors[which], self.weights[which]
        center = np.average(known, axis=0, weights=weights)
        middle = np.average(errors, weights=weights)
        root = np.sqrt(weights)
        matrix = (known - center) * root[:, None]
        penalised = matrix.T @ matrix + strength * np.eye(known.shape[1])
        solved = np.linalg.solve(penalised, matrix.T @ ((errors - middle) * root))
        trusted = middle * len(errors) / (len(errors) + _NUM_MEAN)
        return solved, float(trusted - center @ solved)

    def _splits(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        for number in np.unique(self.parts):
            part = self.parts == number
            if np.count_nonzero(~part) >= LEAST_ROWS // 2:
                yield part, ~part
