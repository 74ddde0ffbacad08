"""The `justitia` command. Heavy imports wait until their command runs."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from justitia_sdk.errors import JustitiaError

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
