"""The report of a bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ..simulation.figures import (
    Runs,
    by_family,
    completion_times,
    lateness_and_bound,
    ratios_to_vtc,
)
from ..simulation.findings import Findings
from ..simulation.outcomes import Run
from ..simulation.page import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(findings: Findings, about: Sequence[str], directory: Path) -> Path:
    """
    Write `report.html` and a PNG a picture; return the HTML's path.

    Args:
        findings: What was found.
        about: Sentences on workloads and servers, for the head of the page.
        directory: Where to write; made if need be.
    """
    return write_page("bench.html", findings, _pictures(findings), about, directory)


def _pictures(findings: Findings) -> dict[str, Callable[[], Figure]]:
    """Return those pictures for which everything is known, of everyone."""
    runs: dict[str, list[Run]] = {}
    for (policy, _), run in findings.runs.items():
        runs.setdefault(policy, []).append(run)
    pictures: dict[str, Callable[[], Figure]] = {"completion": lambda: completion_times(runs)}
    if not any(run.failures for of in runs.values() for run in of):
        pictures["families"] = lambda: by_family(runs)
        if "vtc" in runs:
            pictures["ratio"] = lambda: ratios_to_vtc(runs, runs["vtc"])
    if dated := _dated(runs):
        pictures["lateness"] = lambda: lateness_and_bound(dated)
    return pictures


def _dated(runs: Runs) -> Runs:
    """Return the policies under which every application's lateness is known."""
    return {
        policy: of
        for policy, of in runs.items()
        if not any(isnan(each.late_iterations) for run in of for each in run.outcomes)
    }
