"""What `justitia bench` does: every workload on every server, then table, files and report."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rich.console import Console

from justitia_sdk.errors import JustitiaError, ServerUnavailable

from ..simulation.outcomes import Run
from ..simulation.workload import Arriving
from .display import print_table, tell_run, tell_server
from .play import Tally
from .progress import shown
from .run import Manner, allow_many_connections, run_live
from .server import LiveServer, look_at
from .servers import STOCK, Target

_Done = dict[tuple[str, int], tuple[Run, Tally]]  # by name and seed


@dataclass(frozen=True, slots=True)
class Bench:
    """
    What to run on every server.

    Attributes:
        workloads: By seed; a file's under 0.
        declares_plan: Applications tell the server their true structure and cost.
        speed: Divides all arrivals and delays.
        model: The model to ask for; the first the server names unless told.
    """

    workloads: Mapping[int, Sequence[Arriving]]
    declares_plan: bool = True
    speed: float = 1.0
    model: str | None = None

    @property
    def num_tenants(self) -> int:
        """Tenants that the workloads name."""
        return len({each.tenant for workload in self.workloads.values() for each in workload})


def run_bench(
    bench: Bench,
    targets: Sequence[Target],
    *,
    out: Path | None,
    report: Path | None,
    about: Sequence[str],
) -> int:
    """
    Run everything, print a table, write figures and a report; return the exit code.

    Returns:
        0; 1 where an application failed, or a later server; 130 after Ctrl-C or SIGTERM.

    Raises:
        ServerError: The first server does not answer, does not start, or serves nobody.
        ConfigurationError: A call that does not fit, or that hints cannot tell of.
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    allow_many_connections()
    try:
        with _terminated_like_interrupted(), _ends_untold():
            done, has_failed = _run_all(bench, targets, console)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is ended; who presses it again is late
        console.print("stopped; no server of this bench is left running")
        return 130
    from .findings import find

    findings = find(done)
    seeds = len(bench.workloads)
    costs = "true costs declared" if bench.declares_plan else "the server's own predictions"
    print_table(findings, costs + (f", mean of {seeds} seeds" if seeds > 1 else ""))
    if out is not None:
        findings.write(out)
        console.print(f"Written: {out / 'summary.json'}, {out / 'applications.csv'}")
    if report is not None:
        from .report import write_report

        console.print(f"Written: {write_report(findings, about, report)}")
    return int(has_failed or any(run.failures for run in findings.runs.values()))


def _run_all(bench: Bench, targets: Sequence[Target], console: Console) -> tuple[_Done, bool]:
    """Run on one server after the other, up to one that fails; return the runs, and whether."""
    done: _Done = {}
    for target in targets:
        try:
            done |= _run_on(target, bench, console)
        except JustitiaError as error:
            if not done:
                raise
            console.print(f"{error}\nWhat follows is of the runs before.", style="red")
            return done, True
    return done, False


def _run_on(target: Target, bench: Bench, console: Console) -> _Done:
    """Run every workload on one server."""
    done: _Done = {}
    if target.is_started:
        console.print(f"{target.name}: starting the server")
    with target.open() as access:
        server = look_at(access, model=bench.model)
        for workload in bench.workloads.values():
            server.check(workload)
        name = target.name or server.policy or STOCK
        tell_server(name, server, bench.num_tenants, console)
        for seed, workload in bench.workloads.items():
            done[name, seed] = _run_one(name, seed, workload, server, bench, console)
    return done


def _run_one(
    name: str,
    seed: int,
    workload: Sequence[Arriving],
    server: LiveServer,
    bench: Bench,
    console: Console,
) -> tuple[Run, Tally]:
    title = f"{name}, seed {seed}" if len(bench.workloads) > 1 else name
    tally = Tally(len(workload))
    manner = Manner(bench.declares_plan, bench.speed, uuid4().hex)
    with shown(title, tally, console):
        run = asyncio.run(run_live(workload, server, manner, tally, policy=name, seed=seed))
    if not run.outcomes:
        raise ServerUnavailable(
            f"{title}: all {len(workload)} applications failed, the first one: "
            f"{run.failures[0].reason}"
        )
    tell_run(title, run, tally, server, console)
    return run, tally


@contextmanager
def _ends_untold() -> Iterator[None]:
    """Keep the SDK from warning that a server did not hear of an end: it may be ended, too."""

    def keep(record: logging.LogRecord) -> bool:
        return not str(getattr(record, "kind", "")).startswith("finish")

    logger = logging.getLogger("justitia.sdk")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """
    Let SIGTERM do what Ctrl-C does, so that nothing is left behind.

    Ctrl-C, too, where a shell that put us into the background has told us to ignore it.
    """
    term = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, term)
        signal.signal(signal.SIGINT, interrupt)
