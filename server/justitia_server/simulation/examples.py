"""
What a predictor would have learned from a workload, had each application run alone.

One after the other, in the order of the file: each has ended before the next arrives. Calls run in
waves, a call in the wave after the last of those it waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from justitia_sdk.plan import plan_from

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..fairness.samples import Sample
from ..prediction.base import Example, Question
from ..prediction.following import Following
from ..prediction.online import OnlinePredictor
from .costs import true_cost
from .workload import Arriving, Call


def examples_of(
    workload: Iterable[Arriving],
    cost_model: CostModel = KV_TOKEN_TIME,
    *,
    keep_text: bool = False,
    on_application: Callable[[], None] = lambda: None,
) -> list[Example]:
    """
    Return an example for each application of *workload*.

    Args:
        workload: In order of arrival; `ended_at` of an example is that, in seconds.
        cost_model: The unit of the costs.
        keep_text: Examples hold the input text itself, too.
        on_application: Told of each as it is done.
    """
    found: list[Example] = []
    now = 0.0
    predictor = OnlinePredictor(
        cost_model, keep=found.append, keeps_text=keep_text, now=lambda: now
    )
    for place, application in enumerate(workload):
        now = application.arrival_s
        _run_alone(application, place, predictor, cost_model)
        on_application()
    return found


def _run_alone(
    application: Arriving, place: int, predictor: OnlinePredictor, cost_model: CostModel
) -> None:
    plan = None if application.plan is None else plan_from(application.plan)
    tenant = application.tenant or DEFAULT_TENANT
    case = predictor.open(
        Question(
            application.app_type, tenant, plan, application.input_text,
            first_prompt_tokens=application.calls[0].prompt_tokens,
        )
    )  # fmt: skip
    following = Following(case, cost_model)
    for wave in _waves(application):
        for call in wave:
            following.begin_call(call.prompt_tokens, num_samples=call.samples)
        following.revise(predictor)
        for call in wave:
            for _ in range(call.samples):
                following.end_call(call.prompt_tokens, call.output_tokens)
                following.revise(predictor)
    cost = true_cost(application, cost_model)
    num_calls = sum(call.samples for call in application.calls)
    predictor.observe(
        Sample(
            place + 1, application.app_id, application.app_type, tenant, cost, num_calls,
            application.num_output_tokens, cost,
        ),
        case,
    )  # fmt: skip


def _waves(application: Arriving) -> list[list[Call]]:
    depths: list[int] = []
    waves: list[list[Call]] = []
    for call in application.calls:
        depth = max((depths[before] + 1 for before in call.after), default=0)
        depths.append(depth)
        waves += [[] for _ in range(depth + 1 - len(waves))]
        waves[depth].append(call)
    return waves
