"""
What the scheduler is told an application costs, when it arrives and while it runs.

    true              its true cost
    lognormal:SIGMA   that times exp(e), e normal with standard deviation SIGMA; median 1
    typical           the mean of what its type has cost so far
    online            what the server's own predictor says, which learns as applications end
    online:-PART,…    the same without parts of it: text, plan, model, revision, scout

True is the cost without prefix sharing: what sharing will save cannot be told beforehand.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import CostModel
from ..fairness.samples import Sample
from ..prediction.base import Prediction
from ..prediction.ladder import PRIOR_CALLS, PRIOR_OUTPUT_TOKENS
from .workload import Application, Arriving, Call

PARTS = ("text", "plan", "model", "revision", "scout")


@dataclass(frozen=True, slots=True)
class Revised:
    """
    A cost told anew.

    Attributes:
        app_id: Whose.
        cost: Of all its calls, above 0.
        both_ways: The order follows it upwards, too.
    """

    app_id: str
    cost: float
    both_ways: bool


@dataclass(frozen=True, slots=True)
class CallTold:
    """
    What is told of a call.

    Attributes:
        is_scout: It goes ahead, ordered by its own cost.
        output_tokens: What it is expected to produce, if that is known.
    """

    is_scout: bool = False
    output_tokens: int | None = None


class Costs(Protocol):
    """Predicts costs, and may revise them and learn."""

    def predict(self, application: Arriving) -> Prediction:
        """Return the predicted cost of an application that arrives now."""

    def begin(self, app_id: str, call: Call) -> CallTold:
        """Take notice of a call that is submitted."""

    def end(self, app_id: str, call: Call) -> None:
        """Take notice that a sample of a call has ended."""

    def revisions(self) -> Sequence[Revised]:
        """Return what is to be told anew after what has happened."""

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
        told: `true`, `lognormal:SIGMA`, `typical`, `online` or `online:-PART,…`.
        model: The unit of the policy.
        seed: Of the errors, and of training.

    Raises:
        ConfigurationError: There is no such thing.
    """
    name, _, parameter = told.partition(":")
    if told == "true":
        return NoisyCosts(model, 0.0, seed)
    if told == "typical":
        return TypicalCosts(model)
    if name == "online":
        from .online_costs import OnlineCosts

        return OnlineCosts(model, seed, without=_parts(parameter))
    if name == "lognormal":
        try:
            sigma = float(parameter)
        except ValueError:
            sigma = math.nan
        if 0 <= sigma <= 5:
            return NoisyCosts(model, sigma, seed)
    raise ConfigurationError(
        "predicted costs are true, typical, online, online:-PART,… or lognormal:SIGMA with SIGMA "
        f"from 0 to 5, not {told!r}"
    )


def _parts(told: str) -> frozenset[str]:
    """Return the parts that `-text,-plan` leaves out."""
    named = [each.strip() for each in told.split(",")] if told else []
    for each in named:
        if not each.startswith("-") or each[1:] not in PARTS:
            raise ConfigurationError(
                f"online can leave out {', '.join(f'-{part}' for part in PARTS)}, not {each!r}"
            )
    return frozenset(each[1:] for each in named)


class ToldOnce:
    """Costs that are told at arrival and never again, by one that learns nothing."""

    def begin(self, app_id: str, call: Call) -> CallTold:
        """Nothing to tell of it."""
        return CallTold()

    def end(self, app_id: str, call: Call) -> None:
        """Nothing to note."""

    def revisions(self) -> Sequence[Revised]:
        """Nothing is told anew."""
        return ()

    def observe(self, sample: Sample) -> None:
        """Nothing is learned."""


class NoisyCosts(ToldOnce):
    """True costs, each times a factor of its own that follows from seed and id."""

    def __init__(self, model: CostModel, sigma: float, seed: int) -> None:
        self._model = model
        self._sigma = sigma
        self._seed = seed

    def predict(self, application: Arriving) -> Prediction:
        """Return the true cost times the application's factor."""
        chance = random.Random(f"cost-{self._seed}-{application.app_id}")
        factor = math.exp(chance.gauss(0, self._sigma)) if self._sigma else 1.0
        return Prediction(max(true_cost(application, self._model) * factor, 1.0), "true")


class TypicalCosts(ToldOnce):
    """The mean of what a type has cost so far: the simplest that learns, to compare with."""

    def __init__(self, model: CostModel) -> None:
        self._model = model
        self._seen: dict[str, tuple[int, float]] = {}  # by type: how many, and their sum

    def predict(self, application: Arriving) -> Prediction:
        """Return the mean; of a type not seen before some calls like its first."""
        number, total = self._seen.get(application.app_type, (0, 0.0))
        if number:
            return Prediction(total / number, "type")
        first = application.calls[0].prompt_tokens
        prior = PRIOR_CALLS * self._model.call_cost(first, PRIOR_OUTPUT_TOKENS)
        return Prediction(float(prior), "prior")

    def observe(self, sample: Sample) -> None:
        """Take in what one has cost."""
        if sample.has_ended:
            number, total = self._seen.get(sample.app_type, (0, 0.0))
            self._seen[sample.app_type] = (number + 1, total + sample.cost)
