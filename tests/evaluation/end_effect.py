"""
What the online predictor does for completion times and lateness, and what each part of it adds.

    PYTHONPATH=tests python -m evaluation.end_effect --inputs DIR [--loads …] [--seeds …] [--page]

The gates' workloads are drawn (210 applications, an even mix of the seven public families, arrivals
of VTC-LMSYS, 459 blocks), input texts joined from DIR/*.jsonl by id, plans declared as a careful
user would. The predictor begins without knowledge. Measures go beside those of earlier runs to
docs/results/data/end_effect.json, the tables into docs/results/predictor-in-the-loop.md; `--page`
writes the tables and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console

from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.simulation.costs import Costs, make_costs
from justitia_server.simulation.outcomes import Outcome
from justitia_server.simulation.run import simulate
from justitia_server.simulation.server import Server
from justitia_server.simulation.shipped import named_families
from justitia_server.simulation.step_time import read_step_time

from .experiments import A100, SCARCE, SEEDS
from .foreknown import Hindsight, Unfolding, experienced, gittins
from .pages import RESULTS, spread, table
from .predictor_workload import told_workload

LOADS = (1.0, 1.3, 2.0)
DATA = RESULTS / "data" / "end_effect.json"
PAGE = RESULTS / "predictor-in-the-loop.md"
TOLD = {  # what the scheduler is told, and how it is called in the tables
    "true": "true costs",
    "hindsight": "each type's true mean, known beforehand",
    "ceiling": "true costs, but of tau-bench its true mean",
    "unfolding": "the same, tau-bench by what its like still cost, asked again, both ways",
    "gittins": "the same, tau-bench by its Gittins index",
    "typical": "mean of the type so far",
    "online": "online predictor",
    "experienced": "the same, begun with what it knows of others",
    "online:-scout": "without scout calls",
    "online:-revision": "without revisions and scouts",
    "online:-text": "without input text",
    "online:-plan": "without plans",
    "online:-model": "without the learned model",
}
_MARKED = re.compile(r"(<!-- end effect (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

Measures = dict[str, float]
Data = dict[str, dict[str, dict[str, Measures]]]  # by load, by what was told, by seed


@dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    load: float
    told: str
    seed: int
    inputs: Path


def main() -> int:
    """Run what is asked for and write the page."""
    options = _options()
    if not options.page:
        _run(_jobs(options), options.processes)
    write_page(json.loads(DATA.read_text()))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.end_effect", description=__doc__)
    parser.add_argument("--inputs", type=Path, help="folder of input texts, TYPE.jsonl each")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--told", nargs="+", default=list(TOLD), choices=list(TOLD))
    parser.add_argument("--processes", type=int, default=1, help="runs at once")
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args()
    if not options.page and (options.inputs is None or not options.inputs.is_dir()):
        parser.error("--inputs must be a folder of input texts, one TYPE.jsonl for each type")
    return options


def _jobs(options: argparse.Namespace) -> list[Job]:
    return [
        Job(load, told, seed, options.inputs)
        for seed in options.seeds
        for load in options.loads
        for told in options.told
    ]


def _run(jobs: Sequence[Job], num_processes: int) -> None:
    """Run *jobs*; what has been measured is written after each."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # read by each worker at its start
    data: Data = json.loads(DATA.read_text()) if DATA.exists() else {}
    console = Console()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        futures = {pool.submit(measure, job): job for job in jobs}
        for number, future in enumerate(as_completed(futures), start=1):
            job = futures[future]
            of_load = data.setdefault(str(job.load), {})
            of_load.setdefault(job.told, {})[str(job.seed)] = future.result()
            where = f"load {job.load}, seed {job.seed}, {job.told}"
            console.print(f"{number} of {len(jobs)}: {where}", highlight=False)
            DATA.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def measure(job: Job) -> Measures:
    """Run one workload and return its measures."""
    import torch

    torch.set_num_threads(1)
    server = Server(read_step_time(A100), SCARCE)
    drawn = told_workload(job.load, job.seed, job.inputs)
    outcomes = simulate(drawn, server, "justitia", seed=job.seed, costs=_costs(job)).outcomes
    later = outcomes[len(outcomes) // 2 :]
    return {
        **_measures(outcomes, ""),
        **_measures(later, "_later"),
        "mean_jct_s": fmean(each.jct_s for each in outcomes),
        "mean_jct_s_later": fmean(each.jct_s for each in later),
    }


def _costs(job: Job) -> Costs:
    if job.told == "hindsight":
        return Hindsight(named_families())
    if job.told == "ceiling":
        return Hindsight(["tau_bench_airline"])
    if job.told == "unfolding":
        return Unfolding("tau_bench_airline", fmean)
    if job.told == "gittins":
        return Unfolding("tau_bench_airline", gittins)
    if job.told == "experienced":
        drawn = told_workload(job.load, job.seed, job.inputs)
        return experienced(drawn, job.inputs, job.seed)
    return make_costs(job.told, KV_TOKEN_TIME, job.seed)


def _measures(outcomes: Sequence[Outcome], suffix: str) -> Measures:
    late = np.array([max(each.lateness_s, 0.0) for each in outcomes])
    logs = np.log([each.predicted_cost / each.true_cost for each in outcomes])
    measures = {
        "p99_lateness_s": float(np.percentile(late, 99)),
        "worst_lateness_s": float(late.max()),
        "on_time_ratio": fmean(each.late_iterations <= 1 for each in outcomes),
        "log_rmse": float(np.sqrt((logs**2).mean())),
        "median_error": float(np.median(np.abs(np.exp(logs) - 1))),
    }
    return {f"{name}{suffix}": value for name, value in measures.items()}


# -- the page ----------------------------------------------------------------------------


def write_page(data: Data) -> None:
    """Put the tables into the page."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(
        _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]](data)}\n{found[3]}", text),
        encoding="utf-8",
    )


def _of(data: Data, load: str, told: str, measure: str) -> str:
    return spread([each[measure] for each in data[load][told].values()])


def _ratio(data: Data, load: str, told: str, measure: str) -> str:
    """Return a measure over that with true costs, seed by seed."""
    true = data[load]["true"]
    pairs = [(each[measure], true[seed][measure]) for seed, each in data[load][told].items()]
    return spread([mine / theirs for mine, theirs in pairs])


def _rows(
    data: Data, names: Sequence[str], cells: Callable[[str, str], list[str]]
) -> list[list[str]]:
    return [
        [load, TOLD[told], *cells(load, told)]
        for load in sorted(data, key=float)
        for told in names
        if told in data[load]
    ]


def _jct_table(data: Data) -> str:
    def cells(load: str, told: str) -> list[str]:
        return [
            _ratio(data, load, told, "mean_jct_s_later"),
            _ratio(data, load, told, "mean_jct_s"),
            _of(data, load, told, "log_rmse_later"),
            _of(data, load, told, "median_error_later"),
        ]

    heads = ["load", "told", "mean JCT of true costs', second half", "the same, all",
             "log-RMSE at arrival, second half", "median relative error, second half"]  # fmt: skip
    return table(heads, _rows(data, [told for told in TOLD if told != "true"], cells))


def _lateness_table(data: Data) -> str:
    def cells(load: str, told: str) -> list[str]:
        return [
            _of(data, load, told, "p99_lateness_s"),
            _of(data, load, told, "worst_lateness_s"),
            _of(data, load, told, "on_time_ratio"),
            _of(data, load, told, "p99_lateness_s_later"),
            _of(data, load, told, "on_time_ratio_later"),
        ]

    heads = ["load", "told", "p99 lateness, s", "worst, s", "on time",
             "p99, second half, s", "on time, second half"]  # fmt: skip
    return table(heads, _rows(data, list(TOLD), cells))


TABLES: dict[str, Callable[[Data], str]] = {"jct": _jct_table, "lateness": _lateness_table}


if __name__ == "__main__":
    sys.exit(main())
