"""
What a model is shown of an application, in numbers: the same at arrival and while it runs.

Costs are told as logarithms relative to the *base*, what the cheapest good guess says of the whole
application (the median of its type; of a type never seen its plan, or what applications cost in
general), lengths as logarithms relative to those usual in the type. So what is learned of one type
means the same in another. Of a type that is not known what is usual is not known either: what could
only be compared with that is left out, and the more of its applications were seen, the less what
was learned of others may pull its prediction away from the base.

The *floor* is what the application has used, plus one token of each open call: it cannot cost less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from justitia_sdk.plan import Plan

from ..fairness.cost import CostModel
from .base import Case, HashedText, Question, Standing
from .course import Course

_LEAST_COST = 1.0
_MOST_LOG = 14.0  # of a ratio: beyond a factor of a million all are alike
_MOST_SPREAD = 3.0  # of the costs of a type: a factor of 20
_NUM_KNOWN = 10.0  # applications seen that count as much as what is usual in a known type
_NUM_UNKNOWN = 0.1  # and as much as what is guessed of a type without any
_NUM_PULLED = 1.0  # applications seen of a type that tell as much as all other types


@dataclass(frozen=True, slots=True)
class Lengths:
    """
    What is usual in a type, or in all: means of logarithms.

    Attributes:
        log_cost: Of a whole application.
        log_prompt_tokens: Of its first call.
        log_output_tokens: Of a call, on average over an application.
        log_chars: Of its input text.
    """

    log_cost: float
    log_prompt_tokens: float
    log_output_tokens: float
    log_chars: float


@dataclass(frozen=True, slots=True)
class Start:
    """
    What is known at arrival and does not change.

    Attributes:
        log_base: Logarithm of the base.
        features: Those that follow from the question alone.
        lengths: What is usual in the type.
        plan_calls: Calls that the plan speaks of; 0 without one.
        is_known: Whether the type is known.
        pull: How much of what is learned counts: 1 for a known type.
    """

    log_base: float
    features: tuple[float, ...]
    lengths: Lengths
    plan_calls: float
    is_known: bool
    pull: float


def start_of(
    question: Question,
    standing: Standing,
    text: HashedText | None,
    lengths: Lengths,
    cost_model: CostModel,
    *,
    is_known: bool,
    text_says: float | None = None,
) -> Start:
    """
    Return what is known of an application at arrival.

    Args:
        question: What is asked.
        standing: What its type has cost.
        text: Its text, if told.
        lengths: What is usual in its type, or in all where it is not known.
        cost_model: The unit.
        is_known: Whether the type is known.
        text_says: What the model of the type's texts makes of the text, if there is one.
    """
    log_plan = _log_plan(question, lengths, cost_model)
    num_seen = standing.num_seen
    if is_known:
        prior, num_prior, pull = lengths.log_cost, _NUM_KNOWN, 1.0
    else:
        prior = lengths.log_cost if log_plan is None else log_plan
        num_prior, pull = _NUM_UNKNOWN, _NUM_PULLED / (num_seen + _NUM_PULLED)
    trust = num_seen / (num_seen + num_prior)
    log_base = trust * standing.log_median + (1 - trust) * prior
    features = (
        0.0 if is_known else trust,
        0.0 if is_known else min(standing.log_spread, _MOST_SPREAD),
        0.0 if log_plan is None else 1.0,
        0.0 if log_plan is None else _ratio(log_plan - log_base),
        *(_compared(question, text, lengths, text_says) if is_known else _NOT_COMPARED),
    )
    plan_calls = sum(_plan_calls(question.plan)) / 2
    return Start(log_base, features, lengths, plan_calls, is_known, pull)


def _compared(
    question: Question, text: HashedText | None, lengths: Lengths, text_says: float | None
) -> tuple[float, ...]:
    """Return what is asked, relative to what is usual in the type."""
    prompt = question.first_prompt_tokens
    least_calls, most_calls = _plan_calls(question.plan)
    return (
        _ratio(math.log(prompt) - lengths.log_prompt_tokens) if prompt else 0.0,
        1.0 if text else 0.0,
        _ratio(math.log1p(text.num_chars) - lengths.log_chars) if text else 0.0,
        0.0 if text_says is None else text_says,
        0.0 if text_says is None else 1.0,
        math.log1p((least_calls + most_calls) / 2),
        math.log1p(most_calls - least_calls),
    )


_NOT_COMPARED = (0.0,) * 7


def floor_of(case: Case, cost_model: CostModel) -> float:
    """Return what the application has used, one token of each open call included; above 0."""
    course = case.course
    if not course.num_begun:
        return float(cost_model.call_cost(case.question.first_prompt_tokens or 0, 1))
    used = course.cost
    if course.num_open:
        used += cost_model.call_cost(course.open_prompt_tokens, 1)
        used += (course.num_open - 1) * cost_model.call_cost(0, 1)
    return max(used, _LEAST_COST)


def features_of(start: Start, course: Course, log_floor: float) -> list[float]:
    """Return all features of an application that has come as far as *course*."""
    return [*start.features, _ratio(log_floor - start.log_base), *_seen(start, course)]


def _seen(start: Start, course: Course) -> tuple[float, ...]:
    """Return what the calls so far tell."""
    done = course.num_done
    if not done:
        return (0.0,) * NUM_SEEN
    usual = start.lengths
    log_output = math.log(max(course.output_tokens / done, 1.0))
    each = max(course.open_prompt_tokens / max(course.num_open, 1), 1.0)
    log_open = math.log(1.0 + course.num_open * each) + log_output
    left = max(start.plan_calls - course.num_begun, 0.0)
    return (
        1.0,
        1.0 if course.num_open else 0.0,
        math.log(1.0 + done),
        math.log(1.0 + course.num_open),
        math.log(course.num_waves),
        math.log(max(course.wave_size, 1)),
        math.log(max(course.first_wave_size, 1)),
        _ratio(math.log(max(course.cost, 1.0)) - start.log_base),
        _ratio(log_open - start.log_base),
        _ratio(log_output - usual.log_output_tokens) if start.is_known else 0.0,
        _ratio(math.log((1.0 + course.last_output_tokens) / (1.0 + course.first_output_tokens))),
        _ratio(math.log((1.0 + course.last_prompt_tokens) / (1.0 + course.first_prompt_tokens))),
        math.log(1.0 + left),
    )


NUM_SEEN = 13
FLOOR = 4 + len(
    _NOT_COMPARED
)  # place of the floor relative to the base, after what is known at arrival
RUNNING = FLOOR + 1  # place of the flag that a call has been completed
NUM_FEATURES = RUNNING + NUM_SEEN


def state_of(num_done: float, num_waves: float) -> int:
    """Return how far an application has come: at arrival, in its second wave, its fifth, beyond."""
    if not num_done:
        return 0
    return 1 if num_waves <= 2 else 2 if num_waves <= 5 else 3


NUM_STATES = 4


def _ratio(log: float) -> float:
    return max(-_MOST_LOG, min(_MOST_LOG, log))


def _plan_calls(plan: Plan | None) -> tuple[float, float]:
    least = most = 0.0
    for stage in plan.stages if plan else ():
        low, high = stage.call_range
        least, most = least + stage.loop * low, most + stage.loop * high
    return least, most


def _log_plan(question: Question, lengths: Lengths, cost_model: CostModel) -> float | None:
    """Return the logarithm of what the plan comes to, usual lengths where it tells none."""
    if question.plan is None or not question.plan.stages:
        return None
    usual_prompt = question.first_prompt_tokens or math.exp(lengths.log_prompt_tokens)
    usual_output = math.exp(lengths.log_output_tokens)
    cost = 0.0
    for stage in question.plan.stages:
        low, high = stage.call_range
        prompt = stage.prompt_tokens or round(usual_prompt)
        output = stage.output_tokens or max(round(usual_output), 1)
        cost += stage.loop * (low + high) / 2 * cost_model.call_cost(prompt, output)
    return math.log(max(cost, _LEAST_COST))
