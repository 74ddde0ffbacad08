"""The report made from two recorded runs: rows, ratios, JSON, and failures that show."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from justitia_server.demo.report import (
    Comparison,
    as_fields,
    comparison_table,
    facts_table,
    notes,
)
from justitia_server.demo.results import Application, Call, Run
from justitia_server.serve.watch import ServerUse

USE = ServerUse(500, 10.0, 0.8, 1.0, 7, 4)


def run(server: str, *finishes: float, error: str | None = None) -> Run:
    calls = (Call(0.0, 0.5, 1.0, 100, 10),)
    applications = [
        Application(f"a-{index}", f"kind{index % 2}", index, index, finish_s, None, calls)
        for index, finish_s in enumerate(finishes)
    ]
    if error is not None:
        applications.append(Application("bad", "kind0", 0.0, 0.0, 99.0, error, ()))
    return Run(server, tuple(applications), USE)


def comparison(*, error: str | None = None) -> Comparison:
    return Comparison(
        "large-first",
        0,
        4800,
        run("stock", 10.0, 11.0, 12.0, 13.0),
        run("justitia", 5.0, 6.0, 7.0, 8.0, error=error),
    )


def text_of(renderable: object) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(renderable)
    return console.export_text()


def test_one_row_a_kind_and_one_for_all() -> None:
    """Every kind is shown, and the whole."""
    rows = comparison().rows()
    assert [(row.kind, row.number) for row in rows] == [("kind0", 2), ("kind1", 2), ("all", 4)]
    assert [rows[-1].mean_stock_s, rows[-1].mean_justitia_s] == [10.0, 5.0]
    assert rows[-1].mean_ratio == 0.5


def test_makespan_and_work_are_compared() -> None:
    """Ratios are Justitia over stock."""
    assert comparison().makespan_ratio == 8.0 / 13.0
    assert comparison().tokens_ratio == 1.0


def test_tables_hold_the_figures() -> None:
    """What the table prints is what was computed."""
    assert "0.50" in text_of(comparison_table(comparison()))
    facts = text_of(facts_table(comparison()))
    assert "50" in facts
    assert "offered load" in facts


def test_notes_say_toy_forced_lengths_and_how_load_is_measured() -> None:
    """Nobody can take the figures for those of a real model."""
    text = " ".join(notes(comparison()))
    for words in ("toy", "forces", "measured", "this machine"):
        assert words in text


def test_failures_reach_the_json() -> None:
    """A failed application is named with its error, and left out of the means."""
    fields = as_fields(comparison(error="boom"))
    assert fields["runs"]["justitia"]["failed"] == {"bad": "boom"}
    assert fields["mean_jct_ratio"] == 0.5
    json.dumps(fields, allow_nan=False)


def test_a_server_where_all_failed_still_gives_a_report(tmp_path: Path) -> None:
    """No number is made up where there is none."""
    dead = Run("stock", (Application("bad", "kind0", 0.0, 0.0, 9.0, "boom", ()),), USE)
    half = Comparison("large-first", 0, 4800, dead, run("justitia", 5.0))
    assert as_fields(half)["runs"]["stock"]["mean_jct_s"] is None
    text_of(comparison_table(half))
    text_of(facts_table(half))


def test_picture_is_drawn(tmp_path: Path) -> None:
    """A PNG of some size, also when an application failed."""
    from justitia_server.demo.picture import draw_who_ran_when

    path = tmp_path / "who-ran-when.png"
    draw_who_ran_when(comparison(error="boom"), path)
    assert path.read_bytes().startswith(b"\x89PNG")
