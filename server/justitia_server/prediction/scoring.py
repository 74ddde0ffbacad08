"""How good predictions were: errors, order, and whether the intervals hold what they promise."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .base import Case, Example, Model, Prediction
from .course import Course


@dataclass(frozen=True, slots=True)
class Answer:
    """What was predicted of an application, and what it cost; all above 0, but for *low*."""

    predicted: float
    cost: float
    low: float = 0.0
    high: float = math.inf

    @property
    def log_error(self) -> float:
        """Natural logarithm of predicted over true."""
        return math.log(self.predicted / self.cost)

    @property
    def has_interval(self) -> bool:
        """Whether an interval was told."""
        return math.isfinite(self.high)

    @property
    def relative_error(self) -> float:
        """|predicted - true| / true."""
        return abs(self.predicted - self.cost) / self.cost


@dataclass(frozen=True, slots=True)
class Scores:
    """
    The measures over some answers.

    Attributes:
        num: How many.
        median_error: Median of the relative errors.
        mean_error: Their mean.
        log_rmse: Root mean square of the log-errors.
        tau: Kendall's rank correlation (tau-b) of predicted and true; None where undefined.
        coverage: Part of the costs that lie in their intervals; None where none was told.
    """

    num: int
    median_error: float
    mean_error: float
    log_rmse: float
    tau: float | None
    coverage: float | None


def scores(answers: Sequence[Answer]) -> Scores:
    """
    Return the measures over *answers*.

    Raises:
        ValueError: There are none.
    """
    if not answers:
        raise ValueError("there is nothing to score: give at least one answer")
    errors = [each.relative_error for each in answers]
    told = [each for each in answers if each.has_interval]
    within = [each.low <= each.cost <= each.high for each in told]
    return Scores(
        len(answers),
        statistics.median(errors),
        statistics.fmean(errors),
        log_rmse(answers),
        kendall_tau([each.predicted for each in answers], [each.cost for each in answers]),
        statistics.fmean(within) if within else None,
    )


def log_rmse(answers: Iterable[Answer]) -> float:
    """Return the root mean square of the log-errors."""
    return math.sqrt(statistics.fmean(each.log_error**2 for each in answers))


def kendall_tau(some: Sequence[float], others: Sequence[float]) -> float | None:
    """
    Return tau-b, from -1 to 1; None where it is undefined, as for equal numbers.

    Pairs in the same order less pairs in opposite order, over the geometric mean of the pairs that
    are not tied in either. Cost: quadratic, in numpy's hands.
    """
    import numpy as np

    agreeing, num_apart, num_others_apart = 0, 0, 0
    left, right = np.asarray(some, dtype=float), np.asarray(others, dtype=float)
    for place in range(1, len(left)):
        ahead = np.sign(left[place] - left[:place])
        others_ahead = np.sign(right[place] - right[:place])
        agreeing += int(ahead @ others_ahead)
        num_apart += int(np.count_nonzero(ahead))
        num_others_apart += int(np.count_nonzero(others_ahead))
    if not (num_apart and num_others_apart):
        return None
    return agreeing / math.sqrt(num_apart * num_others_apart)


def answer(
    model: Model, example: Example, *, course: Course | None = None, otherwise: float = 1.0
) -> Answer:
    """
    Return what *model* says of *example*: at arrival, or after what *course* shows.

    Where it has no answer, `median_answer` counts: so it is in the server, too.
    """
    case = Case(
        example.question, example.standing, Prediction(1.0, "prior"), example.text,
        course.glimpse() if course else Course(),
    )  # fmt: skip
    told = model.predict(case)
    if told is None or not 0 < told.cost < math.inf:
        return median_answer(example, otherwise=otherwise)
    return Answer(told.cost, example.cost, told.low, told.high)


def typical_cost(examples: Sequence[Example]) -> float:
    """Return the median cost of *examples*: what to say of a type of which nothing is known."""
    return math.exp(statistics.median(math.log(each.cost) for each in examples))


def median_answer(example: Example, *, otherwise: float = 1.0) -> Answer:
    """Return what the type's median says at arrival; *otherwise* where none of it had ended."""
    standing = example.standing
    known = math.exp(standing.log_median) if standing.num_seen else otherwise
    return Answer(known, example.cost)
