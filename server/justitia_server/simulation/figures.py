"""The pictures of a study. One colour a policy, the same in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from .outcomes import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C510A")
_MOST_APPLICATIONS_NAMED = 8

Runs = Mapping[str, Sequence[Run]]  # by policy: one run a seed, the same seeds for all


def all_pictures(runs: Runs, vtc: Sequence[Run]) -> dict[str, Callable[[], Figure]]:
    """
    Return what draws each picture, by name.

    Args:
        runs: Those asked for.
        vtc: VTC per application on the same arrivals, a run a seed.
    """
    return {
        "completion": lambda: completion_times(runs),
        "families": lambda: by_family(runs),
        "ratio": lambda: ratios_to_vtc(runs, vtc),
        "lateness": lambda: lateness_and_bound(runs),
        "memory": lambda: who_held_the_memory(runs),
    }


def completion_times(runs: Runs) -> Figure:
    """Return the share of applications that are done within a time."""
    figure, axes = _figure()
    for colour, (policy, of) in _coloured(runs):
        jcts = sorted(each.jct_s for run in of for each in run.outcomes)
        shares = [(place + 1) / len(jcts) for place in range(len(jcts))]
        axes.step(jcts, shares, where="post", color=colour, label=policy)
    _log_scale(axes, "x")
    axes.set_xlabel("completion time, seconds")
    axes.set_ylabel("share of applications done within")
    axes.legend(fontsize=8)
    return figure


def by_family(runs: Runs) -> Figure:
    """Return the mean completion time of each type, a bar a policy."""
    first = next(iter(runs.values()))
    families = sorted({each.app_type for run in first for each in run.outcomes})
    figure, axes = _figure(width=max(7.0, 1.2 * len(families)))
    width = 0.8 / len(runs)
    for place, (colour, (policy, of)) in enumerate(_coloured(runs)):
        means = [_mean_jct(of, family) for family in families]
        at = [index + (place - (len(runs) - 1) / 2) * width for index in range(len(families))]
        axes.bar(at, means, width, color=colour, label=policy)
    axes.set_xticks(range(len(families)), [name.replace("_", "\n") for name in families])
    axes.tick_params(axis="x", labelsize=8)
    _log_scale(axes, "y")
    axes.set_ylabel("mean completion time, seconds")
    axes.legend(fontsize=8)
    return figure


def ratios_to_vtc(runs: Runs, vtc: Sequence[Run]) -> Figure:
    """Return, application by application, completion time over that under VTC, in order."""
    figure, axes = _figure()
    for colour, (policy, of) in _coloured(runs):
        ratios = sorted(
            mine.jct_s / theirs.jct_s
            for run, other in zip(of, vtc, strict=True)
            for mine, theirs in zip(run.outcomes, other.outcomes, strict=True)
        )
        shares = [(place + 0.5) / len(ratios) for place in range(len(ratios))]
        axes.plot(shares, ratios, color=colour, label=policy)
    axes.axhline(1, color="black", linewidth=0.8)
    _log_scale(axes, "y")
    axes.set_xlim(0, 1)
    axes.set_xlabel("applications, by their ratio")
    axes.set_ylabel("completion time over that under VTC")
    axes.legend(fontsize=8)
    return figure


def lateness_and_bound(runs: Runs) -> Figure:
    """Return the lateness of every application, and the share of its bound that it uses up."""
    figure, (left, right) = _figure(columns=2, width=10.0)
    for colour, (policy, of) in _coloured(runs):
        outcomes = [each for run in of for each in run.outcomes]
        lateness = sorted(each.lateness_s for each in outcomes)
        shares = [(place + 1) / len(lateness) for place in range(len(lateness))]
        left.step(lateness, shares, where="post", color=colour, label=policy)
        used = sorted(
            each.late_iterations / each.bound_iterations
            for each in outcomes
            if each.bound_iterations
        )
        right.step(used, [(place + 1) / len(used) for place in range(len(used))], color=colour)
    for axes, limit in ((left, 0), (right, 1)):
        axes.axvline(limit, color="black", linewidth=0.8)
        axes.set_ylabel("share of applications with at most")
    left.set_xscale("symlog", linthresh=1)
    left.set_xlabel("finish minus fair finish, seconds (right of 0: late)")
    right.set_xscale("symlog", linthresh=0.1)
    right.set_xlabel("lateness over its bound (right of 1: violated)")
    left.legend(fontsize=8)
    return figure


def who_held_the_memory(runs: Runs) -> Figure:
    """Return the KV memory over time by application, a panel a policy, of the first seed."""
    figure, panels = _figure(rows=len(runs), width=10.0, height=1.2 + 1.6 * len(runs), sharex=True)
    panels = [panels] if len(runs) == 1 else list(panels)
    for axes, (policy, of) in zip(panels, runs.items(), strict=True):
        _draw_holdings(axes, of[0])
        axes.set_title(policy, loc="left", fontsize=9)
        axes.set_ylabel("KV tokens", fontsize=8)
        axes.set_ylim(0, of[0].capacity)
    panels[-1].set_xlabel(
        f"seconds; the {_MOST_APPLICATIONS_NAMED} largest applications in colour, others grey"
    )
    named = panels[0].get_legend_handles_labels()
    figure.legend(*named, fontsize=7, ncols=4, loc="outside upper right")
    return figure


def _draw_holdings(axes: Any, run: Run) -> None:
    if not run.holdings:
        return
    times = [at for at, _ in run.holdings]
    costs = {each.app_id: each.cost for each in run.outcomes}
    named = sorted(costs, key=lambda app_id: -costs[app_id])[:_MOST_APPLICATIONS_NAMED]
    layers = [[held.get(app_id, 0) for _, held in run.holdings] for app_id in named]
    others = [
        sum(tokens for app_id, tokens in held.items() if app_id not in named)
        for _, held in run.holdings
    ]
    axes.stackplot(times, *layers, others, colors=(*_COLOURS, "#DDDDDD"), labels=named, linewidth=0)


def _mean_jct(runs: Sequence[Run], family: str) -> float:
    return fmean(each.jct_s for run in runs for each in run.outcomes if each.app_type == family)


def _coloured(runs: Runs) -> list[tuple[str, tuple[str, Sequence[Run]]]]:
    colours = [_COLOURS[place % len(_COLOURS)] for place in range(len(runs))]
    return list(zip(colours, runs.items(), strict=True))


def _log_scale(axes: Any, which: str) -> None:
    """Make the x or y axis logarithmic, with plain numbers on it."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _figure(
    *, rows: int = 1, columns: int = 1, width: float = 7.0, height: float = 4.2, **options: Any
) -> tuple[Figure, Any]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width, height), layout="constrained", **options
    )
    for each in figure.axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes
