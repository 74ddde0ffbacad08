"""
The learned model: from applications that have ended to what the next one will cost.

One network answers at arrival and while an application runs, for types it knows ("own") and for
types it does not ("pooled"). Its parts: `hashing` and `text` read the input, `features` says what
the network is shown, `examples` makes rows of it, `network` learns, `correction` moves its answers
towards a type's own, `conformal` makes the intervals hold, `modelfile` writes all of it down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import KV_TOKEN_TIME, CostModel
from .base import Case, Example, Prediction
from .conformal import LEAST_REACH, away, stretch, stretches
from .correction import Correction, fit_correction
from .examples import Material, TypeFacts, log_guess, material_of
from .features import NUM_STATES, Start, features_of, floor_of, start_of, state_of
from .modelfile import Parts, read_parts, write_parts
from .network import Network, fit

LEAST_EXAMPLES = 2
_MOST_LOG = 60.0  # of a cost: beyond 1e26 nothing is compared any more


@dataclass(frozen=True, slots=True)
class _Memo:
    """What does not change of a case; good for the model that made it."""

    model: LearnedModel
    start: Start
    facts: TypeFacts


class LearnedModel:
    """A trained model; nothing in it changes any more."""

    def __init__(self, parts: Parts) -> None:
        """Put its *parts* together."""
        self._parts = parts
        self._cost_model = parts.cost_model
        self._unknown = TypeFacts(0, parts.lengths, None)

    def predict(self, case: Case) -> Prediction:
        """
        Return the cost of the whole application from all that *case* holds.

        Changes: the case's memo, so that asking again costs less.
        """
        return self.predict_batch((case,))[0]

    def predict_batch(self, cases: Sequence[Case]) -> list[Prediction]:
        """Return a prediction for each of *cases*, at least one; as `predict`, but cheaper."""
        memos = [self._memo(case) for case in cases]
        floors = [math.log(floor_of(case, self._cost_model)) for case in cases]
        rows = [
            features_of(memo.start, case.course, floor)
            for memo, case, floor in zip(memos, cases, floors, strict=True)
        ]
        features = np.array(rows, dtype=np.float32)
        numbers = np.array([memo.facts.number for memo in memos])
        given = self._parts.network(features, numbers).tolist()
        return [
            self._prediction(case, memo, floor, row, each)
            for case, memo, floor, row, each in zip(
                cases, memos, floors, features, given, strict=True
            )
        ]

    @property
    def types(self) -> tuple[tuple[str, str], ...]:
        """Tenant and type of each type that it knows."""
        return tuple(self._parts.types)

    def to_bytes(self) -> bytes:
        """Return the model in bytes, for `from_bytes`."""
        return write_parts(self._parts)

    @classmethod
    def from_bytes(cls, raw: bytes) -> LearnedModel:
        """
        Return the model that `to_bytes` gave.

        Raises:
            ModelUnreadable: These bytes are none, or of another format.
        """
        return cls(read_parts(raw))

    # -- inside --------------------------------------------------------------------------

    def _prediction(
        self,
        case: Case,
        memo: _Memo,
        floor: float,
        features: NDArray[np.float32],
        given: Sequence[float],
    ) -> Prediction:
        middle, below, above = given
        start, number = memo.start, memo.facts.number
        rest = log_guess(start, floor) + start.pull * middle
        log_cost = floor + _softplus(rest)
        kind = number, state_of(case.course.num_done, case.course.num_waves)
        wider = self._parts.stretches[kind]
        log_low = log_cost - wider * max(
            log_cost - floor - _softplus(rest - _softplus(below)), LEAST_REACH
        )
        log_high = log_cost + wider * max(
            floor + _softplus(rest + _softplus(above)) - log_cost, LEAST_REACH
        )
        shift = 0.0
        if correction := self._parts.corrections.get(kind):
            shift = float(correction(np.append(features, log_cost - start.log_base)))
        log_cost = max(floor, log_cost + shift)
        log_low = max(floor, log_low + shift)
        log_high = max(log_high + shift, log_cost)
        cost, low, high = (math.exp(min(log, _MOST_LOG)) for log in (log_cost, log_low, log_high))
        tokens = max(round(math.exp(start.lengths.log_output_tokens)), 1)
        source = "own" if number else "pooled"
        return Prediction(cost, source, case.prediction.declared_cost, tokens, low, high)

    def _memo(self, case: Case) -> _Memo:
        """Return what does not change of *case*, reckoned once."""
        memo = case.memo
        if isinstance(memo, _Memo) and memo.model is self:
            return memo
        question, text = case.question, case.text
        facts = self._parts.types.get((question.tenant, question.app_type), self._unknown)
        says = facts.text(text) if facts.text and text else None
        start = start_of(
            question, case.standing, text, facts.lengths, self._cost_model,
            is_known=facts.number > 0, text_says=says,
        )  # fmt: skip
        case.memo = memo = _Memo(self, start, facts)
        return memo


def train(
    examples: Sequence[Example], *, seed: int, cost_model: CostModel = KV_TOKEN_TIME
) -> LearnedModel:
    """
    Return a model of what *examples* cost; the same examples and seed give the same model.

    Args:
        examples: Applications that have ended, oldest first.
        seed: Of all chance in it.
        cost_model: The unit of their costs.

    Raises:
        ConfigurationError: There are too few, or a cost is not above 0.
    """
    if len(examples) < LEAST_EXAMPLES:
        raise ConfigurationError(
            f"training needs at least {LEAST_EXAMPLES} examples, there are {len(examples)}: "
            "wait until more applications have ended"
        )
    for place, each in enumerate(examples):
        if not 0 < each.cost < math.inf:
            raise ConfigurationError(
                f"examples[{place}].cost must be a finite number above 0, not {each.cost!r}: "
                "leave out applications that were charged nothing"
            )
    material = material_of(examples, seed=seed, cost_model=cost_model)
    network = fit(material.rows, num_types=len(material.types), seed=seed)
    honest = _Honest(network, material)
    corrections = honest.corrections()
    return LearnedModel(
        Parts(
            network, material.lengths, material.types, corrections, honest.stretches(), cost_model
        )
    )


class _Honest:
    """What the members of an ensemble say of the rows that each has not seen."""

    def __init__(self, network: Network, material: Material) -> None:
        rows = material.rows
        self._rows = rows
        given = network.members(rows.features, rows.types)[rows.parts, np.arange(len(rows.parts))]
        rest = rows.log_guess + rows.pull * given[:, 0]
        below, above = np.logaddexp(0, given[:, 1]), np.logaddexp(0, given[:, 2])
        self._middle, self._low, self._high = (
            (rows.log_floor + np.logaddexp(0, each)).astype(np.float64)
            for each in (rest, rest - below, rest + above)
        )
        self._inputs = np.column_stack((rows.features, self._middle - material.log_base))
        self._states = material.states
        self._shift = np.zeros(len(self._middle))

    def corrections(self) -> dict[tuple[int, int], Correction]:
        """Return the corrections by type and state; what they add is kept, too."""
        rows, found = self._rows, {}
        for number in np.unique(rows.types[rows.types > 0]).tolist():
            for state in range(NUM_STATES):
                of = np.flatnonzero((rows.types == number) & (self._states == state))
                errors = rows.log_cost[of] - self._middle[of]
                weights = rows.weights[of].astype(np.float64)
                correction, self._shift[of] = fit_correction(
                    self._inputs[of], errors, weights, rows.parts[of]
                )
                if correction is not None:
                    found[number, state] = correction
        return found

    def stretches(self) -> dict[tuple[int, int], float]:
        """Return by what intervals are to be stretched, by type and state."""
        rows = self._rows
        below, above = self._middle - self._low, self._high - self._middle
        scores = away(self._middle + self._shift, below, above, rows.log_cost.astype(np.float64))
        weights = rows.weights.astype(np.float64)
        found: dict[tuple[int, int], float] = {}
        for state in range(NUM_STATES):
            here = self._states == state
            unknown = np.flatnonzero(here & (rows.types == 0))
            known = np.flatnonzero(here & (rows.types > 0))
            found[0, state] = stretch(scores[unknown], weights[unknown])
            pooled, by_type = stretches(scores[known], weights[known], rows.types[known].tolist())
            for number in np.unique(rows.types[rows.types > 0]).tolist():
                found[number, state] = by_type.get(number, pooled)
        return found


def _softplus(value: float) -> float:
    """Return ln(1 + exp(value))."""
    return value if value > 30 else math.log1p(math.exp(value))
