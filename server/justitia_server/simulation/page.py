"""A page of measures and pictures: one HTML file with everything in it, and a PNG a picture."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from .cells import cell
from .findings import Findings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures = Mapping[str, Callable[[], "Figure"]]  # by name, drawn one after the other

TITLES = {
    "completion": "Completion times",
    "families": "By type",
    "ratio": "Beside VTC, application by application",
    "lateness": "Lateness and its bound",
    "memory": "Who held the memory",
}


def write_page(
    template: str, findings: Findings, pictures: Pictures, about: Sequence[str], directory: Path
) -> Path:
    """
    Write `report.html` and a PNG a picture; return the HTML's path.

    Args:
        template: Its name among those that ship.
        findings: What was found.
        pictures: Each is drawn, written and closed.
        about: Sentences for the head of the page.
        directory: Where to write; made if need be.
    """
    directory.mkdir(parents=True, exist_ok=True)
    images = {name: _png(draw()) for name, draw in pictures.items()}
    for name, image in images.items():
        (directory / f"{name}.png").write_bytes(image)
    policies = findings.summary()["policies"]
    text = _template(template).render(
        about=about,
        policies=list(policies),
        rows=_rows(policies),
        failures=[(run.policy, each) for run in findings.runs.values() for each in run.failures],
        pictures=[(TITLES[name], base64.b64encode(each).decode()) for name, each in images.items()],
    )
    path = directory / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _template(name: str) -> Any:
    loader = PackageLoader(__package__, "data")
    return Environment(loader=loader, autoescape=select_autoescape(default=True)).get_template(name)


def _png(figure: Figure) -> bytes:
    from matplotlib import pyplot

    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    pyplot.close(figure)
    return buffer.getvalue()


def _rows(policies: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Return a row a measure that anybody has: its name, and a cell a policy."""
    names = dict.fromkeys(name for told in policies.values() for name in told)
    return [
        (name, [cell(told[name]) if name in told else "" for told in policies.values()])
        for name in names
    ]
