"""
What a predictor is asked, what it answers, and what it learns from.

Costs are in the unit that the server's policy charges (`justitia_server.fairness.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from justitia_sdk.plan import Plan

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.samples import Sample
from .course import Course


@dataclass(frozen=True, slots=True)
class Question:
    """
    All that is known of an application when its cost is asked.

    Attributes:
        app_type: Its kind.
        tenant: Who is billed; types are learned per tenant.
        plan: Its declared structure, if any.
        input_text: What it works on, if told; may be cut.
        input_chars: Length of the whole text, where it was cut.
        first_prompt_tokens: Prompt tokens of its first call, if that is here already.
        min_output_tokens: Least output tokens the first call may produce.
        max_output_tokens: Most output tokens the first call may produce, if limited.
        is_single_call: The application is this one call.
    """

    app_type: str
    tenant: str = DEFAULT_TENANT
    plan: Plan | None = None
    input_text: str | None = None
    input_chars: int | None = None
    first_prompt_tokens: int | None = None
    min_output_tokens: int = 0
    max_output_tokens: int | None = None
    is_single_call: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """
    A predicted cost.

    Attributes:
        cost: Service of the whole application, what is done included; above 0.
        source: The rung of the ladder that answered: "own" (a model of its type), "pooled" (of all
            types), "plan", "calibrated", "type" or "prior".
        declared_cost: What its plan says, taken at its word; 0 without a plan.
        output_tokens_per_call: What a call is expected to produce.
        low: Four of five applications are to cost at least this and at most *high*; 0 if unknown.
        high: See *low*; infinite if unknown.
        is_scouted: Its first calls are to be ordered by their own cost, since what they reveal
            is worth more than what is known now.
    """

    cost: float
    source: str
    declared_cost: float = 0.0
    output_tokens_per_call: int = 1
    low: float = 0.0
    high: float = float("inf")
    is_scouted: bool = False


@dataclass(frozen=True, slots=True)
class HashedText:
    """
    A text as counts of hashed n-grams (`features`): what is kept instead of the text itself.

    Attributes:
        places: Hashes, ascending.
        counts: How often each was seen, as long as *places*.
        num_chars: Length of the whole text.
    """

    places: tuple[int, ...]
    counts: tuple[int, ...]
    num_chars: int


@dataclass(frozen=True, slots=True)
class Standing:
    """
    What the tenant's applications of the type had cost when an application arrived.

    Attributes:
        num_seen: How many had ended.
        log_median: Median of the natural logarithm of their costs, the latest.
        log_spread: Standard deviation of the same.
    """

    num_seen: int = 0
    log_median: float = 0.0
    log_spread: float = 0.0


@dataclass(slots=True)
class Case:
    """
    One application as a predictor sees it, from the question to the end.

    Attributes:
        question: What was asked.
        standing: What was known of its type then.
        text: Its input text, hashed, if it told one.
        course: What has been seen of it since.
        prediction: The latest.
        glimpses: Its course as it was whenever the prediction was revised; a bounded number.
        memo: What a model keeps here between predictions, since it does not change; its own affair.
    """

    question: Question
    standing: Standing
    prediction: Prediction
    text: HashedText | None = None
    course: Course = field(default_factory=Course)
    glimpses: list[Course] = field(default_factory=list)
    memo: object = None


@dataclass(frozen=True, slots=True)
class Example:
    """
    What training learns from: an application that has ended, as it was known on the way.

    Attributes:
        question: What was asked of it; the text itself only if it may be kept.
        standing: What was known of its type when it arrived.
        text: Its input text, hashed, if it told one.
        glimpses: Its course at some instants, in order; none where nothing was seen.
        cost: What it cost in the end, as charged.
        ended_at: Unix seconds.
    """

    question: Question
    standing: Standing
    text: HashedText | None
    glimpses: tuple[Course, ...]
    cost: float
    ended_at: float = 0.0


class Model(Protocol):
    """A trained model; nothing in it changes any more."""

    def predict(self, case: Case) -> Prediction | None:
        """Return the cost of the whole application from all that *case* holds; None if unable."""


class Predictor(Protocol):
    """Predicts costs, revises them on the way, and learns from applications that have ended."""

    def open(self, question: Question) -> Case:
        """Return a case with the predicted cost; always answers."""

    def revise(self, case: Case) -> Prediction:
        """Return, and keep in *case*, the prediction after what its course shows by now."""

    def replan(self, case: Case, plan: Plan) -> Prediction:
        """Return, and keep in *case*, the prediction now that it has told *plan* on its way."""

    def observe(self, sample: Sample, case: Case | None = None) -> None:
        """Learn from an application that has ended; *case* if it was seen on the way."""
