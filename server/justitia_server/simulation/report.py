"""The report of a study: one HTML file with everything in it, and its pictures as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from .cells import cell
from .figures import draw_all
from .study import Findings, Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "completion": "Completion times",
    "families": "By type",
    "ratio": "Beside VTC, application by application",
    "lateness": "Lateness and its bound",
    "memory": "Who held the memory",
}


def write_report(findings: Findings, study: Study, about: Sequence[str], directory: Path) -> Path:
    """
    Write `report.html` and a PNG a picture; return the HTML's path.

    Args:
        findings: What was found.
        study: What was run.
        about: Sentences on workload and server, for the head of the page.
        directory: Where to write; made if need be.
    """
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    runs = {
        policy: [findings.runs[policy, seed] for seed in study.workloads]
        for policy in study.policies
    }
    figures = draw_all(runs, [findings.compared["vtc", seed] for seed in study.workloads])
    pictures: list[tuple[str, str]] = []
    for name, figure in figures.items():
        image = _png(figure)
        (directory / f"{name}.png").write_bytes(image)
        pictures.append((TITLES[name], base64.b64encode(image).decode()))
        pyplot.close(figure)
    template = Environment(
        loader=PackageLoader(__package__, "data"), autoescape=select_autoescape(default=True)
    ).get_template("report.html")
    path = directory / "report.html"
    text = template.render(about=about, study=study, rows=_rows(findings), pictures=pictures)
    path.write_text(text, encoding="utf-8")
    return path


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _rows(findings: Findings) -> list[tuple[str, list[str]]]:
    """Return a row a measure: its name, and a cell a policy."""
    policies: Mapping[str, Mapping[str, Any]] = findings.summary()["policies"]
    measures = next(iter(policies.values()))
    return [(name, [cell(told[name]) for told in policies.values()]) for name in measures]
