"""What `justitia simulate` and `justitia workload` do, and how it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from justitia_sdk.errors import ConfigurationError

from ..fairness.policies.registry import make_policy
from .arrivals import Stamp, read_arrivals
from .drawing import Draw, draw_workload, offered_load
from .server import Server
from .study import Findings, Job, Study, run_study
from .workload import Application, Arriving, read_applications

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


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """
    Where workloads are drawn from.

    Attributes:
        num_applications: How many.
        load: Offered load.
        families: Types, or files of applications; none for all that ship.
        arrivals: A file of arrivals, or the name of one that ships.
        most_call_tokens: Leave out applications with a longer call.
        with_tenants: Keep the tenants of the arrivals.
        rate: KV token-time per second that the server can do; what its step time says unless told.
    """

    num_applications: int = 210
    load: float = 1.0
    families: Sequence[str] = ()
    arrivals: str = "vtc_lmsys"
    most_call_tokens: int | None = None
    with_tenants: bool = False
    rate: float | None = None

    def draw(self, server: Server, seed: int) -> list[Arriving]:
        """
        Draw the workload of one seed for *server*.

        Raises:
            ConfigurationError: Something that cannot be read or drawn.
        """
        draw = Draw(
            self.num_applications,
            self.load,
            self.rate_on(server),
            min(self.most_call_tokens or server.capacity, server.capacity),
            self.with_tenants,
        )
        return draw_workload(self._families(), self._stamps(), draw, seed)

    def rate_on(self, server: Server) -> float:
        """Return KV token-time per second of *server*."""
        return self.rate or server.step_time.rate(server.capacity)

    def _families(self) -> dict[str, list[Application]]:
        shipped = {each.name.removesuffix(".jsonl") for each in (_data() / "apps").iterdir()}
        families: dict[str, list[Application]] = {}
        for name in self.families or sorted(shipped):
            if name in shipped:
                families[name] = read_applications(_data() / "apps" / f"{name}.jsonl")
            elif Path(name).is_file():
                families[Path(name).stem] = read_applications(Path(name))
            else:
                raise ConfigurationError(
                    f"no applications called {name!r}: give a file, or one of "
                    + ", ".join(sorted(shipped))
                )
        return families

    def _stamps(self) -> list[Stamp]:
        shipped = {each.name.removesuffix(".csv") for each in (_data() / "arrivals").iterdir()}
        if self.arrivals in shipped:
            return read_arrivals(_data() / "arrivals" / f"{self.arrivals}.csv")
        if Path(self.arrivals).is_file():
            return read_arrivals(Path(self.arrivals))
        raise ConfigurationError(
            f"no arrivals called {self.arrivals!r}: give a file, or one of "
            + ", ".join(sorted(shipped))
        )


def run_simulate(
    workloads: Mapping[int, Sequence[Arriving]],
    server: Server,
    policies: Sequence[str],
    *,
    predicted_cost: str,
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
    for policy in policies:
        make_policy(policy)  # refuses one that is unknown before anything runs
    console = Console(stderr=True)
    study = Study(workloads, server, policies, predicted_cost)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        share: dict[Job, float] = {}
        bar = progress.add_task(f"{len(study.jobs)} runs", total=len(study.jobs))

        def ended(job: Job, done: int, of: int) -> None:
            share[job] = done / of
            progress.update(bar, completed=sum(share.values()))

        findings = run_study(study, num_processes=num_processes, ended=ended)
    shown = Console()
    shown.width = max(shown.width, 120)  # where it goes to a file, too
    shown.print(_table(findings, study))
    if out is not None:
        findings.write(out)
        console.print(f"Written: {out / 'summary.json'}, {out / 'applications.csv'}")
    if report is not None:
        from .report import write_report

        console.print(f"Written: {write_report(findings, study, about, report)}")


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


def _table(findings: Findings, study: Study) -> Table:
    seeds = len(study.workloads)
    title = f"{study.predicted_cost} costs" + (f", mean of {seeds} seeds" if seeds > 1 else "")
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    for heading in _SHOWN.values():
        table.add_column(heading, justify="right")
    for policy, told in findings.summary()["policies"].items():
        table.add_row(policy, *(_cell(told[name]) for name in _SHOWN))
    return table


def _cell(value: Any) -> str:
    mean = value["mean"] if isinstance(value, dict) else value
    return f"{mean:,.0f}" if abs(mean) >= 1000 else f"{mean:.3g}"


def _data() -> Path:
    with as_file(files(__package__) / "data") as path:
        return path
