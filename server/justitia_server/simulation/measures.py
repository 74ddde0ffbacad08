"""
The measures of a run, by name, and of one policy against others on the same arrivals.

Times are in seconds, ratios without unit. On time is at most one iteration late. A bound is
violated where an application whose calls wait for no other is later than it allows; it is the bound
of one tenant with true costs. Jain's index is of 1 / slowdown, slowdown being the completion time
over that of the same application alone on the same server. A measure of which nothing is known is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np

from .outcomes import Outcome, Run

Measures = dict[str, float]


def measures_of(
    run: Run, *, alone_s: Mapping[str, float] | None = None, beside: Mapping[str, Run] | None = None
) -> Measures:
    """
    Return the measures of *run*.

    Args:
        run: One policy's.
        alone_s: Completion time of each application alone on the server, for Jain's index.
        beside: Runs of other policies on the same arrivals, by policy: `vtc` and `srjf` are used.
    """
    outcomes = run.outcomes
    jcts = np.array([each.jct_s for each in outcomes])
    late = _known(each.late_iterations for each in outcomes)
    late_nominal = _known(each.late_iterations_nominal for each in outcomes)
    measures: Measures = {
        "mean_jct_s": float(jcts.mean()),
        **{f"p{share}_jct_s": float(np.percentile(jcts, share)) for share in (50, 90, 99)},
        "on_time_ratio": _mean(each <= 1 for each in late),
        "worst_lateness_s": _most(each.lateness_s for each in outcomes),
        "on_time_ratio_nominal": _mean(each <= 1 for each in late_nominal),
        "worst_lateness_s_nominal": _most(each.lateness_nominal_s for each in outcomes),
        "bound_violations": float(sum(map(_violates, outcomes))) if late else math.nan,
        "throughput_tokens_s": sum(each.num_output_tokens for each in outcomes) / run.busy_s,
        "kv_utilisation": run.kv_usage,
        "num_preemptions": float(run.num_preemptions),
        "starvation_s": _most(each.starved_s for each in outcomes),
        "decision_us": run.step_us,
        "decision_us_arrival": run.arrival_us,
        **_of_predictions(outcomes),
    }
    if alone_s is not None:
        measures["jain_index"] = _jain([alone_s[each.app_id] / each.jct_s for each in outcomes])
    for name, other in (beside or {}).items():
        measures |= _against(run, name, other)
    return {name: value for name, value in measures.items() if not math.isnan(value)}


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Iterable[float]) -> float:
    """Return the mean of what is known, NaN where nothing is."""
    known = _known(values)
    return fmean(known) if known else math.nan


def _most(values: Iterable[float]) -> float:
    """Return the largest of what is known, NaN where nothing is."""
    return max(_known(values), default=math.nan)


def _against(run: Run, name: str, other: Run) -> Measures:
    """Compare with *other* over the applications that both served."""
    others = {each.app_id: each.jct_s for each in other.outcomes}
    pairs = [(each.jct_s, others[each.app_id]) for each in run.outcomes if each.app_id in others]
    if not pairs:
        return {}
    ratios = np.array([mine / theirs for mine, theirs in pairs])
    mine, theirs = (fmean(jcts) for jcts in zip(*pairs, strict=True))
    measures = {f"mean_jct_vs_{name}": mine / theirs}
    if name == "vtc":
        measures["share_no_later_than_vtc"] = float((ratios <= 1 + 1e-9).mean())
        measures["worst_ratio_to_vtc"] = float(ratios.max())
    return measures


def _violates(outcome: Outcome) -> bool:
    return outcome.is_single_stage and outcome.late_iterations > outcome.bound_iterations


def _jain(values: Sequence[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def _of_predictions(outcomes: Sequence[Outcome]) -> Measures:
    """Return error and rank correlation of the predictions that are known."""
    told = [
        (each.predicted_cost, each.true_cost)
        for each in outcomes
        if not math.isnan(each.predicted_cost)
    ]
    return {
        "prediction_mre": _mean(abs(predicted - true) / true for predicted, true in told),
        "prediction_kendall_tau": _kendall_tau(told) if told else math.nan,
    }


def _kendall_tau(told: Sequence[tuple[float, float]]) -> float:
    """Return Kendall's tau-b of predicted and true cost; 0 where either is the same for all."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(*zip(*told, strict=True)).statistic) if len(told) > 1 else 0.0
    return tau if tau == tau else 0.0
