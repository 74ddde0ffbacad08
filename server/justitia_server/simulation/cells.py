"""How a measure is shown: to three digits, and its spread where seeds differ."""

from __future__ import annotations

from typing import Any


def cell(value: Any) -> str:
    """Return a measure for reading: its mean, and its least and most where seeds differ."""
    if not isinstance(value, dict):
        return _number(value)
    if value["min"] == value["max"]:
        return _number(value["mean"])
    return f"{_number(value['mean'])} ({_number(value['min'])} to {_number(value['max'])})"


def mean_cell(value: Any) -> str:
    """Return a measure's mean alone, for reading."""
    return _number(value["mean"] if isinstance(value, dict) else value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
