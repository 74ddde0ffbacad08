"""
The first predictor: declared plan, else the type's running mean, else a prior.

Each rung answers only if it knows enough, and the answer names the rung:

- "plan": the cost of the declared plan, as long as few applications of the tenant's type have
  finished;
- "calibrated": the same times what such applications have really cost per declared cost, the median
  of the latest; of a new type, what all the tenant's have. The plan still tells a large application
  from a small one; its word for how large counts no more, so declaring less than is used, in tokens
  or in calls, helps few applications, and a new name for the type helps none;
- "type": the mean of what the type has cost;
- "prior": nothing is known.

An application that has paused and has cost more than was told so far is evidence, too: of its plan,
and of nothing else.

Types are learned per tenant; the least recently used are forgotten beyond a fixed number. What is
reckoned from lengths is scaled by the part of its KV memory that the type was really charged, the
rest being shared with other calls (`fairness.sharing`); what is learned is in that unit already.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from justitia_sdk.protocol import Plan, Stage

from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..fairness.samples import Sample
from .base import Prediction, Question

NUM_TYPES_KEPT = 10_000
NUM_SAMPLES_TRUSTED = 5  # from so many on, what was seen counts for more than what is declared
NUM_RATIOS_KEPT = 21
PRIOR_PROMPT_TOKENS = 512
PRIOR_OUTPUT_TOKENS = 128
PRIOR_CALLS = 4

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(slots=True)
class _Mean:
    """A running mean of what was seen."""

    mean: float = 0.0
    num_seen: int = 0

    def add(self, value: float) -> None:
        self.num_seen += 1
        self.mean += (value - self.mean) / self.num_seen


class _Ratios:
    """What applications really cost per declared cost, the latest."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=NUM_RATIOS_KEPT)

    def add(self, ratio: float) -> None:
        self._latest.append(ratio)

    def median(self) -> float | None:
        """Return the median, None while they are too few to be trusted."""
        if len(self._latest) < NUM_SAMPLES_TRUSTED:
            return None
        return statistics.median(self._latest)


@dataclass(slots=True)
class _TypeHistory:
    """What one tenant's applications of one type used."""

    cost: _Mean = field(default_factory=_Mean)
    output_tokens_per_call: _Mean = field(default_factory=_Mean)
    charged_ratio: _Mean = field(default_factory=_Mean)  # cost over what it had been unshared

    def add(self, sample: Sample) -> None:
        self.cost.add(sample.cost)
        self.output_tokens_per_call.add(sample.num_output_tokens / max(sample.num_calls, 1))
        self.charged_ratio.add(sample.cost / sample.unshared_cost)


class LadderPredictor:
    """Calibrated plan → plan → type mean → prior."""

    def __init__(self, cost_model: CostModel = KV_TOKEN_TIME) -> None:
        self._cost_model = cost_model
        self._types: OrderedDict[tuple[str, str], _TypeHistory] = OrderedDict()
        self._ratios_of_type: OrderedDict[tuple[str, str], _Ratios] = OrderedDict()
        self._ratios_of_tenant: OrderedDict[str, _Ratios] = OrderedDict()
        self._output_tokens_per_call = _Mean()

    def predict(self, question: Question) -> Prediction:
        """Return the predicted cost and the rung it comes from."""
        history = self._types.get((question.tenant, question.app_type))
        tokens = self._output_tokens(question, history)
        if question.plan is not None and question.plan.stages:
            return self._from_plan(question.plan, question, history, tokens)
        charged = history.charged_ratio.mean if history else 1.0
        prompt = question.first_prompt_tokens or PRIOR_PROMPT_TOKENS
        one_call = charged * self._cost_model.call_cost(prompt, tokens)
        if question.is_single_call:
            source, cost = "type" if history else "prior", one_call
        elif history is not None:
            source, cost = "type", history.cost.mean
        else:
            source, cost = "prior", PRIOR_CALLS * one_call
        return Prediction(max(cost, 1.0), source, output_tokens_per_call=tokens)

    def observe(self, sample: Sample) -> None:
        """Move the means of the sample's type, and what its tenant's plans are worth."""
        key = (sample.tenant, sample.app_type)
        if sample.declared_cost > 0:
            ratio = sample.cost / sample.declared_cost
            _recall(self._ratios_of_type, key, _Ratios).add(ratio)
            _recall(self._ratios_of_tenant, sample.tenant, _Ratios).add(ratio)
        if sample.has_ended:
            _recall(self._types, key, _TypeHistory).add(sample)
            per_call = sample.num_output_tokens / max(sample.num_calls, 1)
            self._output_tokens_per_call.add(per_call)

    def _from_plan(
        self, plan: Plan, question: Question, history: _TypeHistory | None, tokens: int
    ) -> Prediction:
        declared = sum(
            self._stage_cost(stage, question.first_prompt_tokens, tokens) for stage in plan.stages
        )
        ratio = self._cost_per_declared(question)
        if ratio is not None:
            return Prediction(max(declared * ratio, 1.0), "calibrated", declared, tokens)
        charged = history.charged_ratio.mean if history else 1.0
        return Prediction(max(declared * charged, 1.0), "plan", declared, tokens)

    def _cost_per_declared(self, question: Question) -> float | None:
        """Return what is known of the type's plans, else of the tenant's, else None."""
        of_type = self._ratios_of_type.get((question.tenant, question.app_type))
        of_tenant = self._ratios_of_tenant.get(question.tenant)
        medians = (ratios.median() for ratios in (of_type, of_tenant) if ratios is not None)
        return next((median for median in medians if median is not None), None)

    def _stage_cost(self, stage: Stage, first_prompt_tokens: int | None, tokens: int) -> float:
        prompt = stage.prompt_tokens or first_prompt_tokens or PRIOR_PROMPT_TOKENS
        output = stage.output_tokens or tokens
        return _expected_calls(stage) * self._cost_model.call_cost(prompt, output)

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


def _recall(known: OrderedDict[_Key, _Value], key: _Key, make: Callable[[], _Value]) -> _Value:
    """Return what is known under *key*, made if need be, as the last to be forgotten."""
    value = known.pop(key) if key in known else make()
    known[key] = value
    if len(known) > NUM_TYPES_KEPT:
        known.popitem(last=False)
    return value


def _expected_calls(stage: Stage) -> float:
    """Return the middle of its range of calls, every turn of its loop taken."""
    least, most = stage.call_range
    return stage.loop * (least + most) / 2
