"""
Predicting without a trained model: declared plan, else the type's mean, else a prior.

Each rung answers only if it knows enough, and the answer names the rung:

- "plan": the cost of the declared plan, as long as few applications of the tenant's type have
  finished;
- "calibrated": the same times what such applications have really cost per declared cost, the median
  of the latest; of a new type, what all the tenant's have. The plan still tells a large application
  from a small one; its word for how large counts no more, so declaring less than is used, in tokens
  or in calls, helps few applications, and a new name for the type helps none;
- "type": the mean of what the latest of the type have cost, those running by their predictions;
- "prior": nothing is known of it.

An application that has paused and has cost more than was told so far is evidence, too: of its plan,
and of nothing else. A plan that comes to more than any application may cost is taken for the most
that one may, and counted.

Types are learned per tenant; the coldest are merged beyond a fixed number (`histories`). What is
reckoned from lengths is scaled by the part of its KV memory that the type was really charged, the
rest being shared with other calls (`fairness.sharing`).
"""

from __future__ import annotations

from justitia_sdk.plan import Plan, Stage

from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..fairness.samples import Sample
from .base import Prediction, Question
from .course import Course
from .histories import Histories, Mean, TypeHistory
from .ratios import Ratios

MOST_COST = 1e12  # of one application; 467,000 KV tokens held for two million iterations
PRIOR_PROMPT_TOKENS = 512
PRIOR_OUTPUT_TOKENS = 128
PRIOR_CALLS = 4


class LadderPredictor:
    """Calibrated plan → plan → type mean → prior."""

    def __init__(
        self, cost_model: CostModel = KV_TOKEN_TIME, *, histories: Histories | None = None
    ) -> None:
        """
        Begin without knowledge.

        Args:
            cost_model: The unit of the costs.
            histories: Where what types have cost is kept.
        """
        self.histories = histories or Histories()
        self.num_absurd = 0  # plans that came to more than any application may cost
        self._cost_model = cost_model
        self._ratios = Ratios()  # cost per declared cost
        self._output_tokens_per_call = Mean()  # of all types

    def predict(self, question: Question) -> Prediction:
        """Return the predicted cost and the rung it comes from."""
        history = self.histories.of(question.tenant, question.app_type)
        tokens = self._output_tokens(question, history)
        if question.plan is not None and question.plan.stages:
            return self._from_plan(question.plan, question, history, tokens)
        source, cost = self._from_past(question, history, tokens)
        return Prediction(max(cost, 1.0), source, output_tokens_per_call=tokens)

    def revise(self, question: Question, course: Course) -> float | None:
        """
        Return what it costs after what *course* shows; None where that tells nothing.

        By its plan, calls done and calls left, each like those it has made; without one, the mean
        of those of its type that have cost more than it has by now.
        """
        history = self.histories.of(question.tenant, question.app_type)
        charged = history.charged if history else 1.0
        if question.plan is not None and question.plan.stages and course.num_done:
            prompt = course.prompt_tokens / course.num_begun
            output = max(round(course.output_tokens / course.num_done), 1)
            each = self._cost_model.call_cost(round(prompt), output)
            return charged * (course.cost + calls_left(question.plan, course) * each)
        mean = history.mean_cost(above=course.cost) if history and history.num_seen else None
        return None if mean is None else charged * mean

    def plan_ratio(self, question: Question) -> float | None:
        """Return what such applications have cost per declared cost; None where too few have."""
        return self._ratios.median(question.tenant, question.app_type)

    def observe(self, sample: Sample) -> None:
        """Learn what the sample's type costs, and what its tenant's plans are worth."""
        if sample.declared_cost > 0:
            ratio = sample.cost / sample.declared_cost
            self._ratios.add(sample.tenant, sample.app_type, ratio)
        if sample.has_ended:
            self.histories.add(sample)
            per_call = sample.num_output_tokens / max(sample.num_calls, 1)
            self._output_tokens_per_call.add(per_call)

    def _from_past(
        self, question: Question, history: TypeHistory | None, tokens: int
    ) -> tuple[str, float]:
        """Return rung and cost without a plan."""
        prompt = question.first_prompt_tokens or PRIOR_PROMPT_TOKENS
        charged = history.charged if history else 1.0
        one_call = charged * self._cost_model.call_cost(prompt, tokens)
        if question.is_single_call:
            return "type" if history else "prior", one_call
        if history is not None and (mean := history.mean_cost()) is not None:
            return "type", charged * mean
        rest = self.histories.rest(question.tenant)
        if rest is not None and (mean := rest.mean_cost()) is not None:
            return "prior", rest.charged * mean
        return "prior", PRIOR_CALLS * one_call

    def _from_plan(
        self, plan: Plan, question: Question, history: TypeHistory | None, tokens: int
    ) -> Prediction:
        declared = sum(
            self._stage_cost(stage, question.first_prompt_tokens, tokens) for stage in plan.stages
        )
        if declared > MOST_COST:
            self.num_absurd += 1
            declared = MOST_COST
        ratio = self.plan_ratio(question)
        if ratio is not None:
            return Prediction(max(declared * ratio, 1.0), "calibrated", declared, tokens)
        charged = history.charged if history else 1.0
        return Prediction(max(declared * charged, 1.0), "plan", declared, tokens)

    def _stage_cost(self, stage: Stage, first_prompt_tokens: int | None, tokens: int) -> float:
        prompt = stage.prompt_tokens or first_prompt_tokens or PRIOR_PROMPT_TOKENS
        output = stage.output_tokens or tokens
        return expected_calls(stage) * self._cost_model.call_cost(prompt, output)

    def _output_tokens(self, question: Question, history: TypeHistory | None) -> int:
        """Return what a call is expected to produce, within what the first one may."""
        tokens: float = PRIOR_OUTPUT_TOKENS
        if history is not None and history.output_tokens_per_call.num_seen:
            tokens = history.output_tokens_per_call.mean
        elif self._output_tokens_per_call.num_seen:
            tokens = self._output_tokens_per_call.mean
        most = question.max_output_tokens or tokens
        return max(1, round(max(question.min_output_tokens, min(tokens, most))))


def expected_calls(stage: Stage) -> float:
    """Return the middle of its range of calls, every turn of its loop taken."""
    least, most = stage.call_range
    return stage.loop * (least + most) / 2


def calls_left(plan: Plan, course: Course) -> float:
    """
    Return the calls that *plan* has still to come or to end, as *course* stands.

    The n-th wave is taken for the n-th stage. Of a range the size of a wave is what there was of
    it; a later stage of the same range is taken to be of that size.
    """
    if any(stage.loop > 1 for stage in plan.stages):
        planned = sum(map(expected_calls, plan.stages))
        return max(planned - course.num_done, course.num_open)
    present = plan.stages[course.num_waves - 1 : course.num_waves]
    left = float(course.num_open)
    for stage in present:
        left += max(stage.call_range[0] - course.wave_size, 0)
    for stage in plan.stages[course.num_waves :]:
        least, most = stage.call_range
        is_alike = any(stage.call_range == each.call_range for each in present)
        left += course.wave_size if is_alike and least < most else (least + most) / 2
    return left
