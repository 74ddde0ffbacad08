"""An application under way as `OnlinePredictor` sees it, and what its first prediction was."""

from __future__ import annotations

from dataclasses import dataclass

from justitia_sdk.plan import Plan

from ..fairness.samples import Sample
from .base import Case, Prediction
from .scoring import Answer


@dataclass(slots=True)
class OpenCase(Case):
    """
    A case with what is needed to learn from its end.

    Attributes:
        at_arrival: The prediction when it arrived.
        after_first: That after its first finished call.
        modelled_cost: What the model said at arrival, nothing corrected; 0 where it said nothing.
        rivals_at_arrival: What the model's answer came to, and what was said without it.
        rivals_after_first: The same after its first finished call.
        plan: The latest it has told on its way; what it told at arrival is in the question.
        num_calls_learned: Of its calls completed, those that its type has learned from.
        num_tokens_learned: Output tokens of those.
    """

    at_arrival: Prediction | None = None
    after_first: Prediction | None = None
    modelled_cost: float = 0.0
    rivals_at_arrival: tuple[float, float] | None = None
    rivals_after_first: tuple[float, float] | None = None
    plan: Plan | None = None
    num_calls_learned: int = 0
    num_tokens_learned: int = 0


def expected_cost(answer: Prediction) -> float:
    """
    Return the mean of what *answer* says, whose cost is a median and whose interval holds 80 %.

    Swanson's rule for skewed quantities: 0.3 of the 10 % quantile, 0.4 of the median, 0.3 of the
    90 % quantile. Without an interval the median itself.
    """
    if not answer.low > 0 or answer.high == float("inf"):
        return answer.cost
    return 0.3 * answer.low + 0.4 * answer.cost + 0.3 * answer.high


def answer_of(sample: Sample, case: Case | None) -> Answer | None:
    """Return what had been told of *sample* at its arrival; None where it goes on, or unknown."""
    if not isinstance(case, OpenCase) or case.at_arrival is None or not sample.has_ended:
        return None
    told = case.at_arrival
    return Answer(told.cost, sample.cost, told.low, told.high)
