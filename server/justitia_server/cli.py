"""The `justitia` command. Heavy imports wait until their command runs."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from justitia_sdk.errors import ConfigurationError, JustitiaError

app = typer.Typer(
    name="justitia",
    help="Fair and fast scheduling of whole LLM applications inside vLLM.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_SERVE_HELP = """
Serve MODEL with vLLM, applications in fair order.

MODEL is a directory or a Hugging Face id. Every option of `vllm serve` works here too.

[bold]Examples[/bold]

  justitia serve meta-llama/Llama-3.1-8B-Instruct
  justitia serve ./my-model --port 9000 --max-model-len 8192
  justitia serve --toy                     a random model: no GPU, no download
  justitia serve --toy --policy fcfs       the same server, first come first served
  justitia serve --vllm-help SchedulerConfig

Then send your calls with the official OpenAI client and `justitia_sdk.instrument()`.
"""


class ArrivalOrder(StrEnum):
    """Which applications of the demo arrive first."""

    large_first = "large-first"
    small_first = "small-first"
    both = "both"


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"justitia {version('justitia-sdk')}")
        raise typer.Exit


@app.callback()
def justitia(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Fair and fast scheduling of whole LLM applications inside vLLM."""


@app.command(
    help=_SERVE_HELP,
    options_metavar="MODEL [OPTIONS] [ANY VLLM OPTION]",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def serve(
    ctx: typer.Context,
    *,
    toy: Annotated[
        bool, typer.Option("--toy", help="Serve the built-in random model instead of MODEL.")
    ] = False,
    policy: Annotated[
        str,
        typer.Option(
            help="Order of calls: justitia (by fair finish), fcfs (vLLM's own), or one to compare "
            "with: app_fcfs, sjf, srjf, vtc, vtc_tenant, las, justitia_nominal, justitia_compute."
        ),
    ] = "justitia",
    tenant_weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=WEIGHT",
            help="Share of the server for an API key (default 1); may be repeated.",
        ),
    ] = None,
    prefix_cost: Annotated[
        str,
        typer.Option(help="KV blocks that several calls hold are charged shared, or plain."),
    ] = "shared",
    revisions: Annotated[
        str, typer.Option(help="Revised predictions move an application's place down, or both.")
    ] = "down",
    idle_grace: Annotated[
        float, typer.Option(help="Seconds between calls in which an application goes on.")
    ] = 2.0,
    idle_timeout: Annotated[
        float, typer.Option(help="Close an application without calls after so many seconds.")
    ] = 600.0,
    stock: Annotated[
        bool, typer.Option("--stock", help="Plain vLLM: no scheduler of ours.")
    ] = False,
    vllm_help: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="vLLM's help: an option, a group or all.")
    ] = None,
) -> None:
    """Serve a model; see _SERVE_HELP."""
    from justitia_server.serve import ServeSettings
    from justitia_server.serve import serve as run_server
    from justitia_server.serve.settings import parse_tenant_weights

    if vllm_help is not None:
        from justitia_server.serve.arguments import print_engine_help

        print_engine_help(vllm_help)
        return
    settings = ServeSettings(
        policy=policy,
        idle_grace_s=idle_grace,
        idle_timeout_s=idle_timeout,
        tenant_weights=parse_tenant_weights(tenant_weight or []),
        prefix_cost=prefix_cost,
        revisions=revisions,
        stock=stock,
        toy=toy,
    )
    run_server(settings, list(ctx.args))


@app.command()
def demo(
    *,
    order: Annotated[
        ArrivalOrder, typer.Option(help="Which applications arrive first.")
    ] = ArrivalOrder.large_first,
    seed: Annotated[int, typer.Option(help="Draws the arrival times.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the picture and the figures.")] = Path(
        "out"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
) -> None:
    """Watch real applications share a server: stock vLLM first, then Justitia."""
    from justitia_server.demo import run_demo

    orders = ("large-first", "small-first") if order is ArrivalOrder.both else (order.value,)
    raise typer.Exit(run_demo(orders=orders, seed=seed, out=out, as_json=as_json))


# -- simulation --------------------------------------------------------------------------

_SIMULATE_HELP = """
Run workloads under several policies on vLLM's real scheduler, with modelled step times.

No GPU and no model are needed: scheduler and KV memory are real, a step takes as long as a table
of GPUs and models says. The workload is a file of applications (`justitia workload make` writes
one), or is drawn for each seed from real applications and arrivals that come with the package.

[bold]Examples[/bold]

  justitia simulate --policy justitia,vtc,fcfs
  justitia simulate --load 1.3 --seeds 1,2,3,4,5 --predicted-cost lognormal:0.5
  justitia simulate --workload mine.jsonl --blocks 2000 --step-time "H100 SXM/Llama-3-8B"

Ends with a table; `--out` takes every application's figures (CSV) and every measure (JSON).
"""

workload_app = typer.Typer(help="Make and check files of applications.", no_args_is_help=True)
app.add_typer(workload_app, name="workload")

_Applications = Annotated[int, typer.Option(help="Applications to draw.", min=1)]
_Load = Annotated[float, typer.Option(help="Offered load: work over what the server can do.")]
_Families = Annotated[
    str, typer.Option(help="Types to draw from, or files; all that come with the package.")
]
_Arrivals = Annotated[
    str, typer.Option(help="File of arrivals (ours, Azure, Mooncake), vtc_lmsys, azure_code_30min.")
]
_MostCallTokens = Annotated[
    int | None, typer.Option(help="Leave out applications with a longer call (p + d).", min=1)
]
_Tenants = Annotated[bool, typer.Option(help="Keep the tenants of the arrivals.")]
_Rate = Annotated[
    float | None, typer.Option(help="KV token-time per second for the load; from the step time.")
]
_Blocks = Annotated[int, typer.Option(help="KV blocks.", min=1)]
_BlockSize = Annotated[int, typer.Option(help="Tokens a block.", min=1)]
_StepTime = Annotated[
    str, typer.Option(help="GPU/MODEL of the table that ships, or FILE:GPU/MODEL.")
]


@app.command(help=_SIMULATE_HELP)
def simulate(
    *,
    workload: Annotated[
        Path | None, typer.Option(help="File of applications; drawn for each seed without it.")
    ] = None,
    policy: Annotated[
        str, typer.Option(help="Policies, as of `justitia serve`, with commas between.")
    ] = "justitia,vtc,fcfs",
    seeds: Annotated[str, typer.Option(help="Seeds of drawn workloads, with commas.")] = "1",
    applications: _Applications = 210,
    load: _Load = 1.0,
    families: _Families = "",
    arrivals: _Arrivals = "vtc_lmsys",
    most_call_tokens: _MostCallTokens = None,
    tenants: _Tenants = False,
    rate: _Rate = None,
    blocks: _Blocks = 459,
    block_size: _BlockSize = 16,
    step_time: _StepTime = "A100-80GB SXM/Llama-2-7B",
    prefix_caching: Annotated[
        bool, typer.Option(help="Share KV blocks of equal prefixes.")
    ] = False,
    predicted_cost: Annotated[
        str, typer.Option(help="What the scheduler is told: true, lognormal:SIGMA or online.")
    ] = "true",
    max_num_seqs: Annotated[int, typer.Option(help="Most sequences in a batch.", min=1)] = 256,
    max_num_batched_tokens: Annotated[
        int, typer.Option(help="Most tokens a step computes.", min=1)
    ] = 8192,
    overlap: Annotated[
        bool, typer.Option(help="Schedule while the step before is computed, as on a GPU.")
    ] = True,
    jobs: Annotated[int | None, typer.Option(help="Runs at once; the number of cores.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figures.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a report: one HTML file, and its pictures.")
    ] = None,
) -> None:
    """Simulate; see _SIMULATE_HELP."""
    _quiet_engine()
    from justitia_server.simulation.command import DrawOptions, describe, run_simulate
    from justitia_server.simulation.server import Server
    from justitia_server.simulation.step_time import read_step_time
    from justitia_server.simulation.workload import read_workload

    server = Server(
        read_step_time(step_time), blocks, block_size, max_num_seqs, max_num_batched_tokens,
        prefix_caching, overlap,
    )  # fmt: skip
    drawn = DrawOptions(
        applications, load, _names(families), arrivals, most_call_tokens, tenants, rate
    )
    if workload is not None:
        workloads = {0: read_workload(workload)}
    else:
        workloads = {seed: drawn.draw(server, seed) for seed in _seeds(seeds)}
    of = {seed: describe(each, server, drawn.rate_on(server)) for seed, each in workloads.items()}
    about = [
        f"{workload}: {of[0]}." if workload else f"Seed {seed}: {told}."
        for seed, told in of.items()
    ]
    about.append(f"Server: {blocks} blocks of {block_size} tokens, {step_time}.")
    run_simulate(
        workloads, server, _names(policy),
        predicted_cost=predicted_cost, num_processes=jobs, out=out, report=report, about=about,
    )  # fmt: skip


@workload_app.command("make")
def workload_make(
    out: Annotated[Path, typer.Argument(help="File to write.")],
    *,
    seed: Annotated[int, typer.Option(help="Of all choices.")] = 1,
    applications: _Applications = 210,
    load: _Load = 1.0,
    families: _Families = "",
    arrivals: _Arrivals = "vtc_lmsys",
    most_call_tokens: _MostCallTokens = None,
    tenants: _Tenants = False,
    rate: _Rate = None,
    blocks: _Blocks = 459,
    block_size: _BlockSize = 16,
    step_time: _StepTime = "A100-80GB SXM/Llama-2-7B",
) -> None:
    """Draw applications onto arrivals, at an offered load on a server; counts are never changed."""
    _quiet_engine()
    from justitia_server.simulation.command import DrawOptions, describe
    from justitia_server.simulation.server import Server
    from justitia_server.simulation.step_time import read_step_time
    from justitia_server.simulation.workload import write_workload

    server = Server(read_step_time(step_time), blocks, block_size)
    drawn = DrawOptions(
        applications, load, _names(families), arrivals, most_call_tokens, tenants, rate
    )
    made = drawn.draw(server, seed)
    write_workload(out, made)
    print(f"{out}: {describe(made, server, drawn.rate_on(server))}")


@workload_app.command("check")
def workload_check(
    file: Annotated[Path, typer.Argument(help="File of applications with arrivals.")],
) -> None:
    """Read a workload; say what it holds, or which line, field and why not."""
    from justitia_server.simulation.workload import read_workload

    read = read_workload(file)
    num_calls = sum(len(each.calls) for each in read)
    types = ", ".join(sorted({each.app_type for each in read}))
    print(f"{file}: {len(read)} applications, {num_calls} calls; types: {types}")


def _names(told: str) -> list[str]:
    return [name.strip() for name in told.split(",") if name.strip()]


def _seeds(told: str) -> list[int]:
    try:
        return [int(name) for name in _names(told)]
    except ValueError:
        raise ConfigurationError(
            f"seeds are whole numbers with commas between, not {told!r}"
        ) from None


def _quiet_engine() -> None:
    """Keep vLLM's own messages out of a simulation, unless the user has said otherwise."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def main() -> None:
    """Run the command line; whatever the user got wrong is one sentence on stderr."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except JustitiaError as error:
        sys.exit(_refuse(str(error)))
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        sys.exit(_refuse(error.format_message()))
    sys.exit(code)


def _refuse(sentence: str) -> int:
    print(f"justitia: {sentence}", file=sys.stderr)
    return 2
