"""`justitia serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SERVE_HELP = """
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
    step_log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write what every engine step computed and how long it took, for "
            "`justitia step-time fit`.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the applications that end, for `justitia simulate`: counts and times, no "
            "text.",
        ),
    ] = None,
    predictor: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|off",
            help="Folder for what the predictor learns; by the model's name in your data directory "
            "unless told. off: it does not learn.",
        ),
    ] = None,
    keep_input_text: Annotated[
        bool,
        typer.Option(
            "--keep-input-text",
            help="Keep the applications' input texts there, too, not only hashed features.",
        ),
    ] = False,
    stock: Annotated[
        bool, typer.Option("--stock", help="Plain vLLM: no scheduler of ours.")
    ] = False,
    vllm_help: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="vLLM's help: an option, a group or all.")
    ] = None,
) -> None:
    """Serve a model; see SERVE_HELP."""
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
        step_log=step_log,
        record=record,
        predictor=predictor,
        keep_input_text=keep_input_text,
        stock=stock,
        toy=toy,
    )
    run_server(settings, list(ctx.args))
