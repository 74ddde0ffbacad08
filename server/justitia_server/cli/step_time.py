"""`justitia step-time fit`, `justitia step-time list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import writable_folder

if TYPE_CHECKING:
    from justitia_server.simulation.fitting import Fit, Goodness

step_time_app = typer.Typer(
    name="step-time", help="How long a step takes: learn it, and list it.", no_args_is_help=True
)


@step_time_app.command()
def fit(
    *,
    logs: Annotated[
        list[Path], typer.Argument(metavar="LOG...", help="Written by `justitia serve --step-log`.")
    ],
    gpu: Annotated[str, typer.Option(help="Name of the GPU, for the table.")],
    model: Annotated[str, typer.Option(help="Name of the model, for the table.")],
    out: Annotated[Path, typer.Option(help="Table to write into; other rows are kept.")],
) -> None:
    """
    Learn the step times of a live engine from its step log.

    Needs traffic in which few and many calls run, with short and long prompts, some of them alone.
    """
    from justitia_server.simulation.fitting import fit_step_time
    from justitia_server.simulation.logged_steps import read_step_logs
    from justitia_server.simulation.step_table import check_names, read_table, write_fit

    check_names(gpu, model)
    read_table(out)
    writable_folder(out.absolute().parent)
    found = fit_step_time(read_step_logs(logs))
    was_there = write_fit(out, gpu, model, found)
    _show(found)
    print(f"{'Replaced' if was_there else 'Written'} in {out}. To simulate with it:")
    print(f'  justitia simulate --step-time "{out}:{gpu}/{model}"')


@step_time_app.command("list")
def list_shipped() -> None:
    """Show the table that ships: for each GPU and model the constants, in milliseconds."""
    from rich.console import Console
    from rich.table import Table

    from justitia_server.simulation.step_table import shipped_rows

    table = Table(title="ms = a + b B + c K to decode, e + f n + g n² for a prompt")
    table.add_column("GPU/MODEL", no_wrap=True)
    for constant in "abcefg":
        table.add_column(constant, justify="right")
    for row in shipped_rows():
        constants = [
            row[part][name]
            for part in ("decode", "prefill")
            for name in row[part]
            if name.endswith("_ms")
        ]
        table.add_row(f"{row['gpu']}/{row['model']}", *(f"{each:g}" for each in constants))
    console = Console()
    console.width = max(console.width, 100)  # where it goes to a file, too
    console.print(table)


def _show(found: Fit) -> None:
    told = found.constants
    print("Steps that decode: ms = a + b B + c K, B sequences, K KV tokens they hold")
    print(
        f"  a = {told.decode_base_ms:.4g}   b = {told.per_sequence_ms:.4g}   "
        f"c = {told.per_kv_token_ms:.4g}"
    )
    print(_goodness(found.decode))
    print("Prompts: ms = e + f n + g n², n tokens; the larger of a and e where a step does both")
    print(
        f"  e = {told.prefill_base_ms:.4g}   f = {told.per_token_ms:.4g}   "
        f"g = {told.per_token_squared_ms:.4g}"
    )
    print(_goodness(found.prefill))
    for sentence in found.warnings:
        print(f"Note: {sentence}.")


def _goodness(found: Goodness) -> str:
    return (
        f"  {found.num_steps:,} steps, median error {found.median_error:.1%}, "
        f"R² {found.r_squared:.3f} ({found.num_outliers:,} outliers left out)"
    )
