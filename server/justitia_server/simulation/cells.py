"""How measures are shown: to three digits, with their spread where seeds differ, in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_LEAST_WIDTH = 120


def measures_table(
    policies: Mapping[str, Mapping[str, Any]], headings: Mapping[str, str], title: str
) -> Table:
    """
    Return a row a policy, a column a measure; one that nobody has is left out.

    Args:
        policies: Measures by policy, as a summary has them.
        headings: Of measures, in order.
        title: Of the table.
    """
    measures = [name for name in headings if any(name in told for told in policies.values())]
    table = Table(title=title, title_justify="left")
    table.add_column("policy")
    for name in measures:
        table.add_column(headings[name], justify="right")
    for policy, told in policies.items():
        table.add_row(policy, *(_mean(told[name]) if name in told else "" for name in measures))
    return table


def wide_console() -> Console:
    """Return standard output, wide enough for a table where it goes to a file, too."""
    console = Console()
    console.width = max(console.width, _LEAST_WIDTH)
    return console


def cell(value: Any) -> str:
    """Return a measure for reading: its mean, and its least and most where seeds differ."""
    if not isinstance(value, dict):
        return _number(value)
    if value["min"] == value["max"]:
        return _number(value["mean"])
    return f"{_number(value['mean'])} ({_number(value['min'])} to {_number(value['max'])})"


def _mean(value: Any) -> str:
    return _number(value["mean"] if isinstance(value, dict) else value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
