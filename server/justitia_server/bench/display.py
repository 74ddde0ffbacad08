"""What a bench says: of a server, of a run, and of everything in a table."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from rich.console import Console

from ..simulation.cells import measures_table, wide_console
from ..simulation.outcomes import Outcome, Run
from ..simulation.workload import Arriving
from .play import Tally
from .server import LiveServer

if TYPE_CHECKING:
    from ..simulation.findings import Findings

MAX_SLIP_S = 0.05  # beyond it the arrivals were not quite the workload's
_NUM_REASONS = 5
_SHOWN = {  # measures in the table where anybody has them, and how they are headed
    "mean_jct_s": "mean JCT, s",
    "p90_jct_s": "90 %, s",
    "mean_jct_vs_vtc": "of VTC's",
    "mean_jct_vs_stock": "of stock vLLM's",
    "share_no_later_than_vtc": "no later than VTC",
    "on_time_ratio": "on time",
    "worst_lateness_s": "worst lateness, s",
    "throughput_tokens_s": "tokens/s",
    "kv_utilisation": "KV in use",
    "num_failed": "failed",
    "max_slip_s": "worst slip, s",
}


def describe(workload: Sequence[Arriving], speed: float) -> str:
    """Return in a sentence what a workload holds, and how long its arrivals take."""
    types = len({each.app_type for each in workload})
    span_s = (workload[-1].arrival_s - workload[0].arrival_s) / speed
    return (
        f"{len(workload)} applications of {types} types, "
        f"{sum(len(each.calls) for each in workload)} calls, "
        f"{sum(each.num_output_tokens for each in workload):,} output tokens, arriving over "
        f"{span_s:.0f} s" + (f" ({speed:g} times as fast as told)" if speed != 1 else "")
    )


def tell_server(name: str, server: LiveServer, num_tenants: int, console: Console) -> None:
    """Say what cannot be known of a server, or done with it."""
    if server.policy is None:
        console.print(
            f"{name}: this server has no scheduler of ours: its fair finish, lateness and "
            "predictions are not known"
        )
    if num_tenants > 1 and not server.access.tenant_keys:
        console.print(
            f"{name}: the workload names {num_tenants} tenants, and here is one key: all are one"
        )


def tell_run(title: str, run: Run, tally: Tally, server: LiveServer, console: Console) -> None:
    """Say how a run went, and what was wrong with it."""
    console.print(
        f"{title}: {len(run.outcomes)} applications in {run.busy_s:.1f} s, slip at most "
        f"{1000 * tally.max_slip_s:.0f} ms"
    )
    for failure in run.failures[:_NUM_REASONS]:
        console.print(f"failed: {failure.reason}", style="red")
    if len(run.failures) > _NUM_REASONS:
        console.print(f"failed: {len(run.failures) - _NUM_REASONS} more", style="red")
    if tally.max_slip_s > MAX_SLIP_S:
        console.print(
            f"warning: a call went out {1000 * tally.max_slip_s:.0f} ms later than it was due: "
            "the client was too slow; give it a core of its own, or lower --speed",
            style="yellow",
        )
    if server.tells_lateness and (num_undated := sum(map(_is_undated, run.outcomes))):
        console.print(
            f"warning: the server has not told the fair finish of {num_undated} applications",
            style="yellow",
        )


def _is_undated(outcome: Outcome) -> bool:
    return isnan(outcome.late_iterations) and isnan(outcome.late_iterations_nominal)


def print_table(findings: Findings, title: str) -> None:
    """Print the measures that matter most, a row a policy; what nobody knows is left out."""
    wide_console().print(measures_table(findings.summary()["policies"], _SHOWN, title))
