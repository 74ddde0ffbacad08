"""
The picture of who ran when: both servers on one time axis, one row an application.

A call is drawn as running from its first scheduling to its end: one that was preempted in between
too, since a client cannot see that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from justitia_server.demo.report import Comparison
from justitia_server.demo.results import Application, Run, mean_jct_s

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
_WAITING_HEIGHT = 0.14
_RUNNING_HEIGHT = 0.74


def draw_who_ran_when(comparison: Comparison, path: Path) -> None:
    """Write the picture of *comparison* to *path*, a PNG file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    runs = (comparison.stock, comparison.justitia)
    rows = len(comparison.stock.applications)
    figure, axes = pyplot.subplots(
        2, 1, sharex=True, figsize=(12, 2.4 + 0.24 * rows), layout="constrained"
    )
    colours = _colours(comparison)
    for axis, run, title in zip(axes, runs, ("Stock vLLM", "Justitia"), strict=True):
        _draw_run(axis, run, colours)
        mean_s = mean_jct_s(run.finished)
        axis.set_title(f"{title}: mean completion time {mean_s:.1f} s", loc="left", weight="bold")
    axes[-1].set_xlabel("seconds since the first arrival")
    axes[-1].set_xlim(0, max(run.makespan_s for run in runs) * 1.01)
    _add_legend(figure, colours)
    figure.suptitle(
        f"Who ran when: {rows} applications, {comparison.order.replace('-', ' ')}, "
        "the same arrivals and the same work",
        fontsize=13,
    )
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _draw_run(axis: Any, run: Run, colours: dict[str, str]) -> None:
    """Draw one panel: a thin bar from arrival to finish, a thick one where calls ran."""
    for row, application in enumerate(run.applications):
        colour = colours[application.kind]
        whole = [(application.arrival_s, application.jct_s)]
        axis.broken_barh(whole, _band(row, _WAITING_HEIGHT), color=colour, alpha=0.45, linewidth=0)
        _draw_calls(axis, application, row, colour)
        if application.error is not None:
            axis.plot(application.finish_s, row, "x", color="black")
    axis.set_ylim(len(run.applications) - 0.4, -0.6)
    axis.set_yticks([])
    axis.set_ylabel("applications, first arrival on top")
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_calls(axis: Any, application: Application, row: int, colour: str) -> None:
    """Draw where calls of *application* ran, as high as there were many of them."""
    levels = application.running_levels()
    most = max((calls for _, _, calls in levels), default=1)
    for start, end, calls in levels:
        height = _RUNNING_HEIGHT * (0.3 + 0.7 * calls / most)
        axis.broken_barh([(start, end - start)], _band(row, height), color=colour, linewidth=0)


def _band(row: int, height: float) -> tuple[float, float]:
    return row - height / 2, height


def _colours(comparison: Comparison) -> dict[str, str]:
    kinds = sorted({application.kind for application in comparison.stock.applications})
    return {kind: _COLOURS[index % len(_COLOURS)] for index, kind in enumerate(kinds)}


def _add_legend(figure: Any, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries: list[Any] = [
        Patch(color=colour, label=kind.replace("_", " ")) for kind, colour in colours.items()
    ]
    entries.append(Line2D([], [], color="0.3", linewidth=8, label="calls running (high: many)"))
    entries.append(Line2D([], [], color="0.6", linewidth=1.5, label="waiting, or using a tool"))
    figure.legend(handles=entries, loc="outside lower center", ncols=len(entries), frameon=False)
