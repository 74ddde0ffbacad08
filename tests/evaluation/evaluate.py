"""
Runs the experiments and writes the published results: `make evaluate`.

    python -m evaluation.evaluate [NAME …] [--jobs N] [--pages]

An experiment's measures go to docs/results/data/NAME.json and its pictures beside the pages; the
pages are written from these files, so one experiment can be run again alone. `--pages` writes the
pages and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from justitia_server.simulation.findings import Findings
from justitia_server.simulation.study import Job, Study, find, run_jobs

from .experiments import EXPERIMENTS, Experiment
from .pages import RESULTS, write_pages

DATA = RESULTS / "data"


def main() -> int:
    """Run what is asked for; return 1 where a gate is missed."""
    options = _options()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # read by each worker at its start
    console = Console()
    for name in [] if options.pages else options.names or EXPERIMENTS:
        began = time.monotonic()
        told = _run(EXPERIMENTS[name](), name, options.jobs, console)
        DATA.mkdir(parents=True, exist_ok=True)
        (DATA / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
        console.print(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes")
    missed = write_pages()
    for sentence in missed:
        console.print(f"[red]missed:[/] {sentence}")
    return 1 if missed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.evaluate", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXPERIMENTS))
    parser.add_argument("--jobs", type=int, help="runs at once; the number of cores")
    parser.add_argument("--pages", action="store_true", help="only write the pages")
    options = parser.parse_args()
    if unknown := set(options.names) - set(EXPERIMENTS):
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    return options


def _run(experiment: Experiment, name: str, jobs: int | None, console: Console) -> dict[str, Any]:
    """Run an experiment's jobs, each once, and return its measures by told costs."""
    studies = experiment.studies()
    wanted = list(dict.fromkeys(job for study in studies for job in study.jobs))
    for study in studies:
        study.check()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        share: dict[Job, float] = {}
        bar = progress.add_task(f"{name}: {len(wanted)} runs", total=len(wanted))

        def ended(job: Job, done: int, of: int) -> None:
            share[job] = done / of
            progress.update(bar, completed=sum(share.values()))

        done = run_jobs(studies[0], wanted, num_processes=jobs, ended=ended)
    return {study.predicted_cost: _plain(study, find(study, done)) for study in studies}


def _plain(study: Study, findings: Findings) -> dict[str, Any]:
    """Return measures by policy and seed, and mean completion times by family."""
    return {
        policy: {
            "measures": [findings.measures[policy, seed] for seed in study.workloads],
            "families": [_family_means(findings, policy, seed) for seed in study.workloads],
        }
        for policy in study.policies
    }


def _family_means(findings: Findings, policy: str, seed: int) -> dict[str, float]:
    of: dict[str, list[float]] = {}
    for each in findings.runs[policy, seed].outcomes:
        of.setdefault(each.app_type, []).append(each.jct_s)
    return {family: sum(jcts) / len(jcts) for family, jcts in sorted(of.items())}


if __name__ == "__main__":
    sys.exit(main())
