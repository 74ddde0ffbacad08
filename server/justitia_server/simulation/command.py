"""What `justitia simulate` and `justitia workload` do, and how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from .cells import measures_table, wide_console
from .drawing import offered_load
from .explain import explain
from .findings import Findings
from .server import Server
from .study import Job, Study, run_study
from .workload import Arriving

_SHOWN = {  # measures in the table, and how they are headed
    "mean_jct_s": "mean JCT, s",
    "p90_jct_s": "90 %, s",
    "mean_jct_vs_vtc": "of VTC's",
    "share_no_later_than_vtc": "no later than VTC",
    "on_time_ratio": "on time",
    "worst_lateness_s": "worst lateness, s",
    "throughput_tokens_s": "tokens/s",
    "kv_utilisation": "KV in use",
}


def run_simulate(
    study: Study,
    *,
    num_processes: int | None,
    out: Path | None,
    report: Path | None,
    about: Sequence[str],
) -> None:
    """
    Run a study, print a table; write figures under *out* and a report under *report*.

    Raises:
        ConfigurationError: A call that does not fit, or no such policy or prediction.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        share: dict[Job, float] = {}
        bar = progress.add_task(f"{len(study.jobs)} runs", total=len(study.jobs))

        def ended(job: Job, done: int, of: int) -> None:
            share[job] = done / of
            progress.update(bar, completed=sum(share.values()))

        findings = run_study(study, num_processes=num_processes, ended=ended)
    seeds = len(study.workloads)
    title = f"{study.predicted_cost} costs" + (f", mean of {seeds} seeds" if seeds > 1 else "")
    shown = wide_console()
    shown.print(measures_table(findings.summary()["policies"], _SHOWN, title))
    _print_explained(findings, study, shown)
    if out is not None:
        findings.write(out)
        console.print(f"Written: {out / 'summary.json'}, {out / 'applications.csv'}")
    if report is not None:
        from .report import write_report

        console.print(f"Written: {write_report(findings, study, about, report)}")


def _print_explained(findings: Findings, study: Study, console: Console) -> None:
    """Print where the time of the application in question went, of seeds that have it."""
    for (_, seed), run in findings.runs.items():
        if study.explain and (told := explain(study.explain, run, findings.alone[seed])):
            console.print(told)


def describe(workload: Sequence[Arriving], server: Server, rate: float) -> str:
    """Return in a sentence what a workload holds."""
    types = len({each.app_type for each in workload})
    return (
        f"{len(workload)} applications of {types} types, "
        f"{sum(len(each.calls) for each in workload)} calls, "
        f"{sum(each.num_output_tokens for each in workload):,} output tokens, over "
        f"{workload[-1].arrival_s - workload[0].arrival_s:.0f} s: offered load "
        f"{offered_load(workload, rate):.2f} on {server.capacity:,} KV tokens"
    )
