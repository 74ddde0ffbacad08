"""`justitia simulate`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .options import DrawOptions, ServerOptions, seeds, some_names, takes, writable_folder

SIMULATE_HELP = """
Run workloads under several policies on vLLM's real scheduler, with modelled step times.

No GPU and no model are needed: scheduler and KV memory are real, a step takes as long as a table
of GPUs and models says. The workload is a file of applications (`justitia workload make` writes
one), or is drawn for each seed from real applications and arrivals that come with the package.

[bold]Examples[/bold]

  justitia simulate --policy justitia,vtc,fcfs
  justitia simulate --load 1.3 --seeds 1,2,3,4,5 --predicted-cost lognormal:0.5
  justitia simulate --workload mine.jsonl --blocks 2000 --step-time "H100 SXM/Llama-3-8B"
  justitia simulate --workload mine.jsonl --explain app-17

Ends with a table; `--out` takes every application's figures (CSV) and every measure (JSON).
"""


@takes(drawn=DrawOptions, on=ServerOptions)
def simulate(
    *,
    workload: Annotated[
        Path | None, typer.Option(help="File of applications; drawn for each seed without it.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Policies, as of `justitia serve`, with commas between.")
    ] = "justitia,vtc,fcfs",
    seeds_told: Annotated[
        str, typer.Option("--seeds", help="Seeds of drawn workloads, with commas.")
    ] = "1",
    predicted_cost: Annotated[
        str,
        typer.Option(
            help="What the scheduler is told: true, lognormal:SIGMA, typical (the mean of the type "
            "so far), online (the server's predictor, from nothing), or online:-PART,… without "
            "text, plan, model, revision or scout."
        ),
    ] = "true",
    jobs: Annotated[
        int | None, typer.Option(help="Runs at once; the number of cores.", min=1)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figures.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report: one HTML file, and its pictures.")
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="APP", help="Tell where this application's time went: who delayed it."
        ),
    ] = None,
    drawn: DrawOptions,
    on: ServerOptions,
) -> None:
    """Simulate; see SIMULATE_HELP."""
    quiet_engine()
    from justitia_server.simulation.command import describe, run_simulate
    from justitia_server.simulation.study import Study
    from justitia_server.simulation.workload import read_workload

    server = on.server()
    if workload is not None:
        workloads = {0: read_workload(workload)}
    else:
        workloads = {seed: drawn.draw(server, seed) for seed in seeds(seeds_told)}
    study = Study(workloads, server, some_names("policy", policy), predicted_cost, explain)
    study.check()
    for folder in filter(None, (out, report)):
        writable_folder(folder)
    rate = drawn.rate_on(server)
    about = [
        f"{workload or f'Seed {seed}'}: {describe(each, server, rate)}."
        for seed, each in workloads.items()
    ]
    about.append(f"Server: {on.blocks} blocks of {on.block_size} tokens, {on.step_time}.")
    run_simulate(study, num_processes=jobs, out=out, report=report, about=about)


def quiet_engine() -> None:
    """Keep vLLM's own messages out of a simulation, unless the user has said otherwise."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
