"""`justitia demo`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class ArrivalOrder(StrEnum):
    """Which applications of the demo arrive first."""

    large_first = "large-first"
    small_first = "small-first"
    both = "both"


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
