"""
The first predictor: declared plan, else the type's running mean, else a prior.

Each rung answers only if it knows enough, and the answer names the rung. Types are learned per
tenant; the least recently used are forgotten beyond a fixed number.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from justitia_sdk.protocol import Plan, Stage

from ..fairness.cost import call_cost
from ..fairness.ledger import Sample
from .base import Prediction, Question

NUM_TYPES_KEPT = 10_000
PRIOR_PROMPT_TOKENS = 512
PRIOR_OUTPUT_TOKENS = 128
PRIOR_CALLS = 4


@dataclass(slots=True)
class _Mean:
    """A running mean of what was seen."""

    mean: float = 0.0
    num_seen: int = 0

    def add(self, value: float) -> None:
        self.num_seen += 1
        self.mean += (value - self.mean) / self.num_seen


@dataclass(slots=True)
class _TypeHistory:
    """What one tenant's applications of one type used."""

    cost: _Mean
    output_tokens_per_call: _Mean


class LadderPredictor:
    """Plan → type mean → prior."""

    def __init__(self) -> None:
        self._types: OrderedDict[tuple[str, str], _TypeHistory] = OrderedDict()
        self._output_tokens_per_call = _Mean()

    def predict(self, question: Question) -> Prediction:
        """Return the predicted cost and the rung it comes from."""
        history = self._types.get((question.tenant, question.app_type))
        if question.plan is not None and question.plan.stages:
            return Prediction(self._plan_cost(question.plan, question, history), "plan")
        if question.is_single_call:
            source = "prior" if history is None else "type"
            prompt = question.first_prompt_tokens or PRIOR_PROMPT_TOKENS
            return Prediction(
                float(call_cost(prompt, self._output_tokens(question, history))), source
            )
        if history is not None:
            return Prediction(max(history.cost.mean, 1.0), "type")
        prompt = question.first_prompt_tokens or PRIOR_PROMPT_TOKENS
        one_call = call_cost(prompt, self._output_tokens(question, None))
        return Prediction(float(PRIOR_CALLS * one_call), "prior")

    def observe(self, sample: Sample) -> None:
        """Move the means of the sample's type."""
        key = (sample.tenant, sample.app_type)
        history = self._types.pop(key, None) or _TypeHistory(_Mean(), _Mean())
        self._types[key] = history  # last: most recently used
        if len(self._types) > NUM_TYPES_KEPT:
            self._types.popitem(last=False)
        history.cost.add(sample.cost)
        per_call = sample.num_output_tokens / max(sample.num_calls, 1)
        history.output_tokens_per_call.add(per_call)
        self._output_tokens_per_call.add(per_call)

    def _plan_cost(self, plan: Plan, question: Question, history: _TypeHistory | None) -> float:
        typical = self._output_tokens(question, history)
        cost = sum(
            _stage_cost(stage, question.first_prompt_tokens, typical) for stage in plan.stages
        )
        return max(cost, 1.0)

    def _output_tokens(self, question: Question, history: _TypeHistory | None) -> int:
        """Return what a call is expected to produce, within what the first one may."""
        if history is not None:
            tokens = history.output_tokens_per_call.mean
        elif self._output_tokens_per_call.num_seen:
            tokens = self._output_tokens_per_call.mean
        else:
            tokens = PRIOR_OUTPUT_TOKENS
        most = question.max_output_tokens or tokens
        return max(1, round(max(question.min_output_tokens, min(tokens, most))))


def _stage_cost(stage: Stage, first_prompt_tokens: int | None, typical_output_tokens: int) -> float:
    """Cost of a stage at the middle of its range of calls, every turn of its loop taken."""
    least, most = stage.call_range
    prompt = stage.prompt_tokens or first_prompt_tokens or PRIOR_PROMPT_TOKENS
    output = stage.output_tokens or typical_output_tokens
    return stage.loop * (least + most) / 2 * call_cost(prompt, output)
