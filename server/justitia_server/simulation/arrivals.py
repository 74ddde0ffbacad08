"""
Arrival stamps: when something came to a real server, and from whom.

Three forms are told apart by how the file begins:

- ours         CSV with the header `arrival_s,tenant`: seconds, ascending; tenant may be empty
- Azure        CSV of AzurePublicDataset, its `TIMESTAMP` column; no tenants
- Mooncake     JSON lines with `timestamp` in milliseconds; no tenants

Stamps count from the first one. Token counts that the file may hold are not looked at: stamps and
applications come from different sources, and whoever pairs them should say so.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .workload import WorkloadError, read_lines


@dataclass(frozen=True, slots=True)
class Stamp:
    """
    One arrival.

    Attributes:
        arrival_s: Seconds after the first one.
        tenant: Who came; empty where nobody is named.
    """

    arrival_s: float
    tenant: str = ""


def read_arrivals(path: Path) -> list[Stamp]:
    """
    Read a file of arrivals, in any of the three forms.

    Raises:
        WorkloadError: The file cannot be read, or a line makes no sense.
    """
    lines = read_lines(path)
    _, head = next(lines, (0, ""))
    if head.lstrip().startswith("{"):
        return _from_first(path, _mooncake(path))
    columns = [name.strip().lower() for name in head.strip().split(",")]
    if "arrival_s" in columns:
        return _from_first(path, _csv(path, lines, columns, "arrival_s", _seconds))
    if "timestamp" in columns:
        return _from_first(path, _csv(path, lines, columns, "timestamp", _azure_seconds))
    raise WorkloadError(
        f"{path} is no file of arrivals: it must begin with the header arrival_s,tenant, with "
        "Azure's TIMESTAMP,…, or with a JSON object that has a timestamp"
    )


def _csv(
    path: Path,
    lines: Iterator[tuple[int, str]],
    columns: list[str],
    column: str,
    seconds: Callable[[str], float],
) -> Iterator[tuple[int, Stamp]]:
    for number, text in lines:
        row = dict(zip(columns, next(csv.reader([text])), strict=False))
        try:
            at = seconds(row.get(column, ""))
        except ValueError:
            raise WorkloadError(
                f"{path}, line {number}: {column}: not an instant: {row.get(column, '')!r:.60}"
            ) from None
        yield number, Stamp(at, row.get("tenant", "").strip())


def _mooncake(path: Path) -> Iterator[tuple[int, Stamp]]:
    for number, text in read_lines(path):
        try:
            at = _seconds(json.loads(text)["timestamp"]) / 1000
        except (ValueError, KeyError, TypeError):
            raise WorkloadError(
                f'{path}, line {number}: a JSON object with "timestamp" in milliseconds is expected'
            ) from None
        yield number, Stamp(at)


def _seconds(told: object) -> float:
    seconds = float(told)  # type: ignore[arg-type]
    if not math.isfinite(seconds):
        raise ValueError(told)
    return seconds


def _azure_seconds(told: str) -> float:
    """Return the instant of a stamp such as 2023-11-16 18:15:46.6805900."""
    whole, _, fraction = told.strip().partition(".")
    at = datetime.fromisoformat(whole).timestamp()
    return at + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def _from_first(path: Path, numbered: Iterator[tuple[int, Stamp]]) -> list[Stamp]:
    stamps: list[Stamp] = []
    first = last = -math.inf
    for number, stamp in numbered:
        if stamp.arrival_s < last:
            raise WorkloadError(f"{path}, line {number}: it is earlier than the line above")
        last = stamp.arrival_s
        first = last if not stamps else first
        stamps.append(Stamp(last - first, stamp.tenant))
    if not stamps:
        raise WorkloadError(f"{path} holds no arrivals")
    return stamps
