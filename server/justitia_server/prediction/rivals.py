"""
Weighing two forecasts by how wrong they have lately been: a model's, and one without a model.

A model that has learned from few applications can be worse than a plan or a mean, and is better
later; which of a tenant's types is where shows in their errors. The forecasts' logarithms are
averaged, each weighted with the other's mean square error (Bates and Granger, 1969). Until there
are errors to compare, the one without a model is trusted more. What is supposed and what is seen
are averaged by their logarithms: where a plan is true to the per cent, a supposed error of half
the cost would outweigh twenty that were seen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from .histories import NUM_TYPES_KEPT
from .kept import Kept

NUM_KEPT = 20
PRIOR_NUM = 2.0  # what is supposed counts as so many applications
PRIOR_MODEL, PRIOR_OTHER = 1.0, 0.4  # square errors supposed
LEAST_SQUARE, MOST_SQUARE = math.log(1.01) ** 2, math.log(10.0) ** 2


class _Record:
    """Square log-errors of both, of the latest applications."""

    __slots__ = ("pairs", "weight")

    def __init__(self) -> None:
        self.pairs: deque[tuple[float, float]] = deque(maxlen=NUM_KEPT)
        self.weight = PRIOR_OTHER / (PRIOR_MODEL + PRIOR_OTHER)

    def add(self, model: float, other: float) -> None:
        self.pairs.append((model, other))
        models, others = zip(*self.pairs, strict=True)
        expected_other = _expected(others, PRIOR_OTHER)
        self.weight = expected_other / (_expected(models, PRIOR_MODEL) + expected_other)


def _expected(squares: Sequence[float], supposed: float) -> float:
    """Return the square error to expect after *squares*, where *supposed* was before."""
    number = len(squares)
    seen = max(sum(squares) / number, LEAST_SQUARE)
    logs = number * math.log(seen) + PRIOR_NUM * math.log(supposed)
    return math.exp(logs / (number + PRIOR_NUM))


class Rivals:
    """The records by tenant and type, at arrival and while running."""

    def __init__(self, *, most_types: int = NUM_TYPES_KEPT) -> None:
        self._types: Kept[tuple[str, str, bool], _Record] = Kept(_Record, most=2 * most_types)
        self._unknown = _Record()

    def observe(
        self, tenant: str, app_type: str, *, running: bool, model: float, other: float, cost: float
    ) -> None:
        """Learn from an application that has ended, for which both had told a cost above 0."""
        squares = (min(math.log(told / cost) ** 2, MOST_SQUARE) for told in (model, other))
        self._types.recall((tenant, app_type, running)).add(*squares)

    def weight(self, tenant: str, app_type: str, *, running: bool) -> float:
        """Return the model's weight, from 0 to 1."""
        return (self._types.find((tenant, app_type, running)) or self._unknown).weight
