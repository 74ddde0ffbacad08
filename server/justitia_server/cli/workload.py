"""`justitia workload make`, `justitia workload check`, `justitia workload sort`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import CapacityOptions, DrawOptions, takes, writable_folder
from .simulate import quiet_engine

workload_app = typer.Typer(
    name="workload", help="Make, check and sort files of applications.", no_args_is_help=True
)


@workload_app.command()
@takes(drawn=DrawOptions, on=CapacityOptions)
def make(
    *,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    seed: Annotated[int, typer.Option(help="Of all choices.")] = 1,
    drawn: DrawOptions,
    on: CapacityOptions,
) -> None:
    """Draw applications onto arrivals, at an offered load on a server; counts are never changed."""
    quiet_engine()
    from justitia_server.simulation.command import describe
    from justitia_server.simulation.workload import write_workload

    server = on.server()
    made = drawn.draw(server, seed)
    writable_folder(out.absolute().parent)
    write_workload(out, made)
    print(f"{out}: {describe(made, server, drawn.rate_on(server))}")


@workload_app.command()
def check(
    file: Annotated[Path, typer.Argument(help="File of applications with arrivals.")],
) -> None:
    """Read a workload; say what it holds, or which line, field and why not."""
    from justitia_server.simulation.workload import read_workload

    read = read_workload(file)
    num_calls = sum(len(each.calls) for each in read)
    types = ", ".join(sorted({each.app_type for each in read}))
    print(f"{file}: {len(read)} applications, {num_calls} calls; types: {types}")


@workload_app.command()
def sort(
    file: Annotated[Path, typer.Argument(help="Written by `justitia serve --record`.")],
) -> None:
    """
    Put a recording in order of arrival, counted from the first; ids that recur are told apart.

    A server that is stopped does it itself; after one that was killed it is to be done.
    """
    from justitia_server.engine.recording import sort_recording

    print(f"{file}: {sort_recording(file)} applications, by arrival")
