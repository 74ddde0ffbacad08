"""
Checks of what users and wires say.

A value without meaning raises `ConfigurationError`, which names the field and what it may be.
"""

from __future__ import annotations

import math

from .errors import ConfigurationError

MAX_NAME_CHARS = 128
MAX_COUNT = 1_000_000  # calls of a stage, size of a group, turns of a loop


def check_name(field: str, value: object) -> None:
    """Take a printable string of 1 to 128 characters."""
    if not isinstance(value, str) or not value or len(value) > MAX_NAME_CHARS:
        raise ConfigurationError(
            f"{field} must be a string of 1 to {MAX_NAME_CHARS} characters, not {value!r:.60}"
        )
    if not value.isprintable():
        raise ConfigurationError(f"{field} holds characters that cannot be printed: {value!r:.60}")


def check_count(field: str, value: object, *, least: int = 1, most: int = MAX_COUNT) -> None:
    """Take a whole number from *least* to *most*."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ConfigurationError(
            f"{field} must be a whole number from {least} to {most}, not {value!r:.60}"
        )


def check_number(
    field: str, value: object, *, least: float | None = None, above: float | None = None
) -> None:
    """Take a finite number of at least *least*, or above *above*."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    if good and least is not None:
        good = value >= least  # type: ignore[operator]
    if good and above is not None:
        good = value > above  # type: ignore[operator]
    if not good:
        limit = f"at least {least:g}" if least is not None else f"above {above:g}"
        raise ConfigurationError(f"{field} must be a finite number {limit}, not {value!r:.60}")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number too large for a float
        return False
