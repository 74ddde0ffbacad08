"""What `justitia simulate --explain` tells: where the time of one application went."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table

from .outcomes import Outcome, Run

_NUM_NAMED = 5


def explain(app_id: str, run: Run, alone: Run) -> Group | None:
    """
    Return where the time of *app_id* went; None where *run* did not have it.

    Args:
        app_id: The application.
        run: One policy's, with its waits taken down.
        alone: Every application alone on the same server.
    """
    outcome, by_itself = (_outcome(app_id, each) for each in (run, alone))
    if outcome is None or by_itself is None or run.waits is None:
        return None
    waits = run.waits
    lateness = f"{abs(outcome.lateness_s):.1f} s {'late' if outcome.lateness_s > 0 else 'early'}"
    heading = (
        f"{app_id} under {run.policy}: arrived {outcome.arrival_s:.1f} s, took "
        f"{outcome.jct_s:.1f} s (alone {by_itself.jct_s:.1f} s), {lateness}"
    )
    table = Table("", "", show_header=False)
    table.columns[1].justify = "right"
    table.add_row("all its calls were served", f"{waits.served_s:.1f} s")
    away_s = max(outcome.jct_s - waits.served_s - waits.waited_s, 0.0)
    table.add_row("it was away, at tools or between calls", f"{away_s:.1f} s")
    table.add_row("some of its calls waited", f"{waits.waited_s:.1f} s", end_section=True)
    _add_rows(table, "behind", waits.behind, itself=app_id)
    table.add_section()
    _add_rows(table, "it kept waiting", waits.kept_waiting, itself=app_id)
    return Group(heading, table)


def _outcome(app_id: str, run: Run) -> Outcome | None:
    return next((each for each in run.outcomes if each.app_id == app_id), None)


def _add_rows(table: Table, heading: str, seconds: Mapping[str, float], *, itself: str) -> None:
    by_size = sorted(seconds.items(), key=lambda each: (-each[1], each[0]))
    for app_id, each in by_size[:_NUM_NAMED]:
        table.add_row(f"{heading} {'itself' if app_id == itself else app_id}", f"{each:.1f} s")
    if rest := by_size[_NUM_NAMED:]:
        table.add_row(f"{heading} {len(rest)} others", f"{sum(each for _, each in rest):.1f} s")
