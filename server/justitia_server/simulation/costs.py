"""
What the scheduler is told an application costs, when it arrives.

    true              its true cost
    lognormal:SIGMA   that times exp(e), e normal with standard deviation SIGMA; median 1
    online            what the server's own predictor says, which learns as applications end

True is the cost without prefix sharing: what sharing will save cannot be told beforehand.
"""

from __future__ import annotations

import math
import random
from typing import Protocol

from justitia_sdk.errors import ConfigurationError

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.cost import CostModel
from ..fairness.samples import Sample
from ..prediction.base import Question
from ..prediction.ladder import LadderPredictor
from .workload import Application, Arriving


class Costs(Protocol):
    """Predicts costs, and may learn."""

    def predict(self, application: Arriving) -> float:
        """Return the predicted cost of an application that arrives now, above 0."""

    def observe(self, sample: Sample) -> None:
        """Learn from an application that has ended."""


def true_cost(application: Application, model: CostModel) -> float:
    """Return what *application* costs under *model*, every call charged in full."""
    return float(
        sum(
            call.samples * model.call_cost(call.prompt_tokens, call.output_tokens)
            for call in application.calls
        )
    )


def make_costs(told: str, model: CostModel, seed: int) -> Costs:
    """
    Return the costs that *told* names.

    Args:
        told: `true`, `lognormal:SIGMA` or `online`.
        model: The unit of the policy.
        seed: Of the errors.

    Raises:
        ConfigurationError: There is no such thing.
    """
    name, _, parameter = told.partition(":")
    if told == "true":
        return NoisyCosts(model, 0.0, seed)
    if told == "online":
        return OnlineCosts(model)
    if name == "lognormal":
        try:
            sigma = float(parameter)
        except ValueError:
            sigma = math.nan
        if 0 <= sigma <= 5:
            return NoisyCosts(model, sigma, seed)
    raise ConfigurationError(
        f"predicted costs are true, online, or lognormal:SIGMA with SIGMA from 0 to 5, not {told!r}"
    )


class NoisyCosts:
    """True costs, each times a factor of its own that follows from seed and id."""

    def __init__(self, model: CostModel, sigma: float, seed: int) -> None:
        self._model = model
        self._sigma = sigma
        self._seed = seed

    def predict(self, application: Arriving) -> float:
        """Return the true cost times the application's factor."""
        chance = random.Random(f"cost-{self._seed}-{application.app_id}")
        factor = math.exp(chance.gauss(0, self._sigma)) if self._sigma else 1.0
        return max(true_cost(application, self._model) * factor, 1.0)

    def observe(self, sample: Sample) -> None:
        """Nothing is learned."""


class OnlineCosts:
    """The server's predictor in the loop, without a plan."""

    def __init__(self, model: CostModel) -> None:
        self._predictor = LadderPredictor(model)

    def predict(self, application: Arriving) -> float:
        """Return what it says, knowing type, tenant and the first call's prompt."""
        question = Question(
            application.app_type,
            application.tenant or DEFAULT_TENANT,
            input_text=application.input_text,
            first_prompt_tokens=application.calls[0].prompt_tokens,
        )
        return self._predictor.predict(question).cost

    def observe(self, sample: Sample) -> None:
        """Let it learn."""
        self._predictor.observe(sample)
