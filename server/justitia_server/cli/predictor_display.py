"""What `justitia predictor` shows: tables and a picture."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from justitia_server.prediction.evaluation import Grades, Tried
    from justitia_server.prediction.scoring import Scores
    from justitia_server.prediction.store import TypeCount
    from justitia_server.prediction.versions import Version

NUM_TYPES_SHOWN = 30
_NUM_COLOURS = 9  # types that have one of their own in the picture
_NOTHING = "-"


def print_grades(tried: Sequence[Tried], about: str) -> None:
    """Print how good predictions were, all of them and by type."""
    from justitia_server.prediction.evaluation import grades, grades_by_type

    table = _table(
        f"Predicted cost: {about}",
        ["type"],
        ["n", "median error", "log-RMSE", "tau", "in interval", "after 1st call", "median's"],
    )
    by_type = grades_by_type(tried)
    has_tenants = len({tenant for tenant, _ in by_type}) > 1
    for (tenant, app_type), of in list(by_type.items())[:NUM_TYPES_SHOWN]:
        table.add_row(_type_name(app_type, tenant if has_tenants else None), *_cells(of))
    _say_more(table, len(by_type))
    table.add_section()
    table.add_row("all", *_cells(grades(tried)), style="bold")
    _print(table)
    print("log-RMSE at arrival, after the 1st finished call, and of the type's median at arrival;")
    print("in interval: part of the costs within the 80 % interval")


def print_versions(versions: Iterable[Version], live: int | None) -> None:
    """Print the versions, the live one marked."""
    rows = list(versions)
    if not rows:
        print("No version has been trained yet.")
        return
    table = _table(
        "Versions",
        ["version", "trained (UTC)"],
        ["learned from", "tried on", "log-RMSE", "median's", "kB"],
    )
    for each in rows:
        facts = each.facts
        trained_at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(facts.trained_at))
        table.add_row(
            f"{each.number}{' (live)' if each.number == live else ''}",
            trained_at,
            f"{facts.num_examples:,}",
            f"{facts.num_held_back:,}",
            f"{facts.log_rmse:.3f}",
            f"{facts.median_log_rmse:.3f}",
            f"{each.num_bytes / 1000:,.0f}",
            style="bold" if each.number == live else None,
        )
    _print(table)


def print_examples(counts: Sequence[TypeCount], unit: str) -> None:
    """Print how many examples there are of each type."""
    total = sum(each.num_examples for each in counts)
    table = _table(
        f"{total:,} examples, costs in {unit}", ["type", "tenant", "latest (UTC)"],
        ["examples", "with text"],
    )  # fmt: skip
    for each in counts[:NUM_TYPES_SHOWN]:
        ended_at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(each.last_ended_at))
        numbers = (f"{each.num_examples:,}", f"{each.num_with_text:,}")
        table.add_row(_type_name(each.app_type), each.tenant, ended_at, *numbers)
    _say_more(table, len(counts))
    _print(table)


def draw(tried: Sequence[Tried], path: Path) -> None:
    """Draw predicted against true costs, and how often intervals held, into *path*."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 5), layout="constrained", width_ratios=(3, 2)
    )
    _draw_costs(left, tried)
    _draw_coverage(right, tried)
    figure.savefig(path, dpi=150)
    plt.close(figure)


# -- parts of the picture ----------------------------------------------------------------


def _draw_costs(axes: object, tried: Sequence[Tried]) -> None:
    """Points of each type, their intervals, and the line of perfect predictions."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    by_type: dict[str, list[Tried]] = {}
    for each in tried:
        by_type.setdefault(_type_name(each.example.question.app_type), []).append(each)
    ranked = sorted(by_type.items(), key=lambda item: -len(item[1]))
    groups = dict(ranked[:_NUM_COLOURS])
    if rest := [each for _, of in ranked[_NUM_COLOURS:] for each in of]:
        groups["others"] = rest
    for place, (name, of) in enumerate(groups.items()):
        answers = [each.at_arrival for each in of]
        true = [each.cost for each in answers]
        predicted = [each.predicted for each in answers]
        colour = f"C{place}"
        told = [each for each in answers if each.has_interval]
        axes.vlines(
            [each.cost for each in told], [max(each.low, 1.0) for each in told],
            [each.high for each in told], color=colour, alpha=0.25, linewidth=1,
        )  # fmt: skip
        axes.scatter(true, predicted, s=14, color=colour, label=f"{name} ({len(of)})", zorder=3)
    costs = [each.at_arrival.cost for each in tried]
    ends = (min(costs) / 1.5, max(costs) * 1.5)
    axes.plot(ends, ends, color="black", linewidth=0.8, linestyle="--", zorder=1)
    axes.set(xscale="log", yscale="log", xlabel="true cost", ylabel="predicted at arrival")
    axes.set_title("Points: applications; bars: their 80 % intervals", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _draw_coverage(axes: object, tried: Sequence[Tried]) -> None:
    """By type, the part of costs within their intervals; four fifths are promised."""
    from matplotlib.axes import Axes

    from justitia_server.prediction.evaluation import grades_by_type

    assert isinstance(axes, Axes)
    found = [
        (_type_name(app_type), of.at_arrival.coverage, of.at_arrival.num)
        for (_, app_type), of in grades_by_type(tried).items()
        if of.at_arrival.coverage is not None
    ][:NUM_TYPES_SHOWN]
    places = range(len(found))
    axes.barh(places, [coverage for _, coverage, _ in found], color="C0", alpha=0.7)
    axes.set_yticks(places, [f"{name} ({num})" for name, _, num in found], fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0.8, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlim=(0, 1), xlabel="part within the 80 % interval")
    axes.set_title("Calibration", fontsize=10)


# -- parts of tables ---------------------------------------------------------------------


def _table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in words:
        table.add_column(name, overflow="fold", max_width=40)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    console = Console()
    console.width = max(console.width, 120)  # where it goes to a file, too
    console.print(table)


def _say_more(table: Table, num_types: int) -> None:
    if num_types > NUM_TYPES_SHOWN:
        table.add_row(f"and {num_types - NUM_TYPES_SHOWN} more")


def _cells(of: Grades) -> list[str]:
    scores = of.at_arrival
    return [
        f"{scores.num:,}",
        f"{scores.median_error:.0%}",
        f"{scores.log_rmse:.3f}",
        _number(scores.tau),
        _NOTHING if scores.coverage is None else f"{scores.coverage:.0%}",
        _log_rmse(of.after_first),
        f"{of.median.log_rmse:.3f}",
    ]


def _log_rmse(scores: Scores | None) -> str:
    return _NOTHING if scores is None else f"{scores.log_rmse:.3f}"


def _number(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.2f}"


def _type_name(app_type: str, tenant: str | None = None) -> str:
    name = app_type or "(cold types, merged)"
    return name if tenant is None else f"{tenant}: {name}"
