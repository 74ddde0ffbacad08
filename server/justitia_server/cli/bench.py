"""`justitia bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from justitia_sdk.errors import ConfigurationError

from .options import (
    CapacityOptions,
    DrawOptions,
    seeds,
    some_names,
    takes,
    writable_folder,
)
from .simulate import quiet_engine

if TYPE_CHECKING:
    from justitia_server.bench.servers import Target
    from justitia_server.simulation.workload import Arriving

BENCH_HELP = """
Run workloads on a live server, over HTTP; measure what `justitia simulate` does.

The workloads are those of `justitia simulate`: a file, or drawn with the
same options. Every call is made at its time, with exactly its prompt tokens,
and is forced to exactly its output tokens.

[bold]On a server that is up[/bold]

  justitia bench --url http://localhost:8000 --workload mine.jsonl

[bold]Policies on the same arrivals[/bold], a server started for each in turn and ended

  justitia bench --serve "MODEL --max-model-len 8192" --workload mine.jsonl
  justitia bench --serve "MODEL --load-format dummy" --seeds 1,2,3 --load 1.3
  justitia bench --serve "--toy" --policy justitia,stock --workload w.jsonl

Ends with a table; `--out` takes every application's figures (CSV) and every
measure (JSON). The exit code is 1 where an application failed.
"""
_POLICIES = "justitia,vtc,stock"


@takes(drawn=DrawOptions, drawn_for=CapacityOptions)
def bench(
    *,
    url: Annotated[
        str | None, typer.Option(help="A server that is up, as in http://localhost:8000.")
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(help="What follows `justitia serve`: one is started for each policy."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help=f"Policies, with --serve; stock is plain vLLM. {_POLICIES} unless told.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Name of the run, with --url; without it the policy the server tells."),
    ] = None,
    api_key: Annotated[
        str, typer.Option(help="Key of the server, with --url.", envvar="OPENAI_API_KEY")
    ] = "none",
    model: Annotated[
        str | None, typer.Option(help="Model to ask for; the first the server names.")
    ] = None,
    workload: Annotated[
        Path | None, typer.Option(help="File of applications; drawn for each seed without it.")
    ] = None,
    seeds_told: Annotated[
        str, typer.Option("--seeds", help="Seeds of drawn workloads, with commas.")
    ] = "1",
    speed: Annotated[
        float, typer.Option(help="Divides all arrival stamps and delays; 2 is twice as fast.")
    ] = 1.0,
    predicted_cost: Annotated[
        str,
        typer.Option(
            help="true: applications declare their structure and cost; online: nothing, the server "
            "predicts."
        ),
    ] = "true",
    out: Annotated[Path | None, typer.Option(help="Folder for figures and server logs.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report: one HTML file, and its pictures.")
    ] = None,
    drawn: DrawOptions,
    drawn_for: CapacityOptions,
) -> None:
    """Bench; see BENCH_HELP."""
    _check_mode(url, serve, policy, label)
    _check_play(speed, predicted_cost)
    quiet_engine()
    from justitia_server.bench.command import Bench, run_bench
    from justitia_server.bench.display import describe
    from justitia_server.bench.servers import server_at
    from justitia_server.simulation.workload import read_workload

    if workload is not None:
        workloads = {0: read_workload(workload)}
    else:
        server = drawn_for.server()
        workloads = {seed: drawn.draw(server, seed) for seed in seeds(seeds_told)}
    for folder in filter(None, (out, report)):
        writable_folder(folder)
    if url is not None:
        targets = [server_at(url, api_key=api_key, label=label)]
    else:
        policies = _POLICIES if policy is None else policy
        targets = _servers(serve or "", policies, list(workloads.values()), out)
    told = Bench(workloads, predicted_cost == "true", speed, model)
    about = [
        f"{workload or f'Seed {seed}'}: {describe(each, speed)}."
        for seed, each in workloads.items()
    ]
    about.append(f"Server: {url or f'justitia serve {serve}'}.")
    raise typer.Exit(run_bench(told, targets, out=out, report=report, about=about))


def _servers(
    words: str, policies: str, workloads: Sequence[Sequence[Arriving]], out: Path | None
) -> list[Target]:
    from justitia_server.bench.servers import servers_of

    return servers_of(
        words,
        some_names("policy", policies),
        tenants=sorted({each.tenant for workload in workloads for each in workload}),
        logs=out,
    )


def _check_mode(url: str | None, serve: str | None, policy: str | None, label: str | None) -> None:
    if (url is None) == (serve is None):
        raise ConfigurationError(
            "give either --url, the address of a server that is up, or --serve, what follows "
            "`justitia serve` to start one for each policy"
        )
    if url is not None and policy is not None:
        raise ConfigurationError(
            "--policy goes with --serve: the server at --url has a policy of its own"
        )
    if serve is not None and label is not None:
        raise ConfigurationError("--label goes with --url: with --serve the policy is the name")


def _check_play(speed: float, predicted_cost: str) -> None:
    if not 0 < speed < float("inf"):
        raise ConfigurationError(f"speed must be finite and above 0, not {speed:g}")
    if predicted_cost not in ("true", "online"):
        raise ConfigurationError(
            f"predicted costs are true or online on a live server, not {predicted_cost!r}"
        )
