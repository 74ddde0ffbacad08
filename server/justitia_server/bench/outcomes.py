"""
What became of every application of a live run, put together from whoever knows it.

By the client's clock: completion times, from the instant an application is due to the end of its
last reply. From vLLM's metrics: iterations, preemptions, KV memory in use. From the server's books,
where the scheduler is ours: predicted and charged cost, fair finish, lateness and bound. What
nobody tells is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from justitia_server.serve.watch import Sample, use_between

from ..simulation.outcomes import Failure, Outcome, Run
from .play import Played
from .receipts import Receipt, Receipts
from .server import LiveServer


def note_engine(run: Run, samples: list[Sample]) -> None:
    """Note what vLLM's metrics say of the run; nothing where it tells none."""
    run.arrival_us = run.step_us = run.kv_usage = run.num_preemptions = math.nan
    if not samples:
        return
    use = use_between(samples, span_s=run.busy_s)
    if use.num_iterations:
        run.num_iterations = use.num_iterations
        run.num_preemptions = use.num_preemptions
        run.kv_usage = use.mean_kv_ratio


def note_outcomes(
    run: Run, played: Sequence[Played], receipts: Receipts, server: LiveServer
) -> None:
    """Note what became of everyone, by the client's clock and the server's books."""
    seconds_each = run.busy_s / run.num_iterations if run.num_iterations else math.nan
    for each in played:
        application = each.application
        if each.failure is None:
            receipt = receipts.of(application.app_id)
            run.outcomes.append(_outcome(each, receipt, server, seconds_each))
        else:
            run.failures.append(
                Failure(
                    application.app_id,
                    application.app_type,
                    application.tenant,
                    each.arrival_s,
                    application.cost,
                    each.failure,
                )
            )


def _outcome(played: Played, receipt: Receipt, server: LiveServer, seconds_each: float) -> Outcome:
    application = played.application
    bound = receipt.bound_iterations if server.tells_lateness else math.nan
    return Outcome(
        app_id=application.app_id,
        app_type=application.app_type,
        tenant=application.tenant,
        arrival_s=played.arrival_s,
        finish_s=played.finish_s,
        cost=application.cost,
        predicted_cost=receipt.predicted_cost,
        true_cost=receipt.attained_cost,
        num_output_tokens=application.num_output_tokens,
        bound_iterations=bound,
        bound_s=bound * seconds_each,
        is_single_stage=application.is_single_stage,
        starved_s=math.nan,
        **_lateness(played, receipt, server),
    )


def _lateness(played: Played, receipt: Receipt, server: LiveServer) -> Mapping[str, float]:
    """Return the fields of lateness against the reference the server keeps, the others NaN."""
    # Lateness is the server's own; its clock need not be ours.
    known = (played.finish_s - receipt.lateness_s, receipt.late_iterations)
    unknown = (math.nan, math.nan)
    is_nominal = server.clock == "nominal"
    delivered = known if server.tells_lateness and not is_nominal else unknown
    nominal = known if server.tells_lateness and is_nominal else unknown
    return {
        "fair_finish_s": delivered[0],
        "late_iterations": delivered[1],
        "fair_finish_nominal_s": nominal[0],
        "late_iterations_nominal": nominal[1],
    }
