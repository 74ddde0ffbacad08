"""
What a predictor is asked, what it answers, and what it learns from.

Costs are in the unit that the server's policy charges (`justitia_server.fairness.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from justitia_sdk.protocol import Plan

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.samples import Sample


@dataclass(frozen=True, slots=True)
class Question:
    """
    All that is known of an application when its cost is asked.

    Attributes:
        app_type: Its kind.
        tenant: Who is billed; types are learned per tenant.
        plan: Its declared structure, if any.
        input_text: What it works on, if told; may be cut.
        first_prompt_tokens: Prompt tokens of its first call, if that is here already.
        min_output_tokens: Least output tokens the first call may produce.
        max_output_tokens: Most output tokens the first call may produce, if limited.
        is_single_call: The application is this one call.
    """

    app_type: str
    tenant: str = DEFAULT_TENANT
    plan: Plan | None = None
    input_text: str | None = None
    first_prompt_tokens: int | None = None
    min_output_tokens: int = 0
    max_output_tokens: int | None = None
    is_single_call: bool = False


@dataclass(frozen=True, slots=True)
class Prediction:
    """
    A predicted cost.

    Attributes:
        cost: Service of the whole application, above 0.
        source: The rung of the ladder that answered: "plan", "calibrated", "type" or "prior".
        declared_cost: What its plan says, taken at its word; 0 without a plan.
        output_tokens_per_call: What a call is expected to produce.
    """

    cost: float
    source: str
    declared_cost: float = 0.0
    output_tokens_per_call: int = 1


class Predictor(Protocol):
    """Predicts costs and learns from finished applications."""

    def predict(self, question: Question) -> Prediction:
        """Return the predicted cost; always answers."""

    def observe(self, sample: Sample) -> None:
        """Learn from a finished application."""
