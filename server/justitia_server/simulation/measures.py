"""
The measures of a run, by name, and of one policy against others on the same arrivals.

Times are in seconds, ratios without unit. On time is at most one iteration late. A bound is
violated where an application whose calls wait for no other is later than it allows; it is the bound
of one tenant with true costs. Jain's index is of 1 / slowdown, slowdown being the completion time
over that of the same application alone on the same server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    measures: Measures = {
        "mean_jct_s": float(jcts.mean()),
        **{f"p{share}_jct_s": float(np.percentile(jcts, share)) for share in (50, 90, 99)},
        "on_time_ratio": fmean(each.late_iterations <= 1 for each in outcomes),
        "worst_lateness_s": max(each.lateness_s for each in outcomes),
        "on_time_ratio_nominal": fmean(each.late_iterations_nominal <= 1 for each in outcomes),
        "worst_lateness_s_nominal": max(each.lateness_nominal_s for each in outcomes),
        "bound_violations": float(sum(map(_violates, outcomes))),
        "throughput_tokens_s": sum(each.num_output_tokens for each in outcomes) / run.busy_s,
        "kv_utilisation": run.kv_usage,
        "num_preemptions": float(run.num_preemptions),
        "starvation_s": max(each.starved_s for each in outcomes),
        "decision_us": run.step_us,
        "decision_us_arrival": run.arrival_us,
        "prediction_mre": fmean(
            abs(each.predicted_cost - each.true_cost) / each.true_cost for each in outcomes
        ),
        "prediction_kendall_tau": _kendall_tau(outcomes),
    }
    if alone_s is not None:
        measures["jain_index"] = _jain([alone_s[each.app_id] / each.jct_s for each in outcomes])
    for name, other in (beside or {}).items():
        measures |= _against(run, name, other)
    return measures


def _against(run: Run, name: str, other: Run) -> Measures:
    ratios = np.array(
        [
            mine.jct_s / theirs.jct_s
            for mine, theirs in zip(run.outcomes, other.outcomes, strict=True)
        ]
    )
    means = fmean(each.jct_s for each in run.outcomes), fmean(each.jct_s for each in other.outcomes)
    measures = {f"mean_jct_vs_{name}": means[0] / means[1]}
    if name == "vtc":
        measures["share_no_later_than_vtc"] = float((ratios <= 1 + 1e-9).mean())
        measures["worst_ratio_to_vtc"] = float(ratios.max())
    return measures


def _violates(outcome: Outcome) -> bool:
    return outcome.is_single_stage and outcome.late_iterations > outcome.bound_iterations


def _jain(values: Sequence[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def _kendall_tau(outcomes: Sequence[Outcome]) -> float:
    """Return Kendall's tau-b of predicted and true cost; 0 where either is the same for all."""
    from scipy.stats import kendalltau

    told = [each.predicted_cost for each in outcomes]
    true = [each.true_cost for each in outcomes]
    tau = float(kendalltau(told, true).statistic) if len(outcomes) > 1 else 0.0
    return tau if tau == tau else 0.0
