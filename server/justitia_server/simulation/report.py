"""The report of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .figures import all_pictures
from .findings import Findings
from .page import write_page
from .study import Study


def write_report(findings: Findings, study: Study, about: Sequence[str], directory: Path) -> Path:
    """
    Write `report.html` and a PNG a picture; return the HTML's path.

    Args:
        findings: What was found.
        study: What was run.
        about: Sentences on workload and server, for the head of the page.
        directory: Where to write; made if need be.
    """
    runs = {
        policy: [findings.runs[policy, seed] for seed in study.workloads]
        for policy in study.policies
    }
    vtc = [findings.compared["vtc", seed] for seed in study.workloads]
    return write_page("report.html", findings, all_pictures(runs, vtc), about, directory)
