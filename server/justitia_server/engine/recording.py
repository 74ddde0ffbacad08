"""
Recordings: a live server's traffic as a workload file, counts and times without text.

One application a line, in the form that `simulation.workload` reads, appended when the application
has ended. So the lines are not in the order of arrival, and `arrival_s` is in Unix seconds, until
the file is sorted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from justitia_sdk.errors import ConfigurationError

from ..fairness.accounts import DEFAULT_TENANT
from .call_graph import waits
from .recorder import RecordedCall


def workload_line(recorded: Mapping[str, Any]) -> str:
    """
    Return an application, as `Recorder.take` gives it, as a line of the file.

    Calls are put in the order in which they came; the application arrives with the first. What is
    as by default is left out.
    """
    calls = [RecordedCall(*call) for call in recorded["calls"]]
    calls.sort(key=lambda call: (call.began_at, call.ended_at))
    spans = [(call.began_at, call.ended_at) for call in calls]
    arrived_at = calls[0].began_at
    told: dict[str, Any] = {
        "app_id": recorded["app_id"],
        "app_type": recorded["app_type"],
        "arrival_s": _microseconds(arrived_at),
    }
    if recorded["tenant"] != DEFAULT_TENANT:
        told["tenant"] = recorded["tenant"]
    if recorded["weight"] != 1:
        told["weight"] = recorded["weight"]
    told["calls"] = []
    for place, (call, after, prefix) in enumerate(
        zip(calls, waits(spans), _prefixes(calls), strict=True)
    ):
        since = max((spans[each][1] for each in after), default=arrived_at)
        delay_s = _microseconds(call.began_at - since)
        told["calls"].append(
            {"id": place}
            | ({"after": after} if after else {})
            | _counts(call)
            | prefix
            | ({"delay_s": delay_s} if delay_s else {})
        )
    return _compact(told)


def _prefixes(calls: Sequence[RecordedCall]) -> list[dict[str, Any]]:
    """
    Return the shared prefix of every call, as fields of a workload.

    What the first call found in the prefix cache is its type's. What a later one found is taken for
    its application's own, and the call before it for one that begins with it, too: whose it was is
    not known, and that is how a conversation goes on.
    """
    shared = [call.num_cached_tokens for call in calls]
    for before, call in enumerate(calls[1:]):
        if before or not shared[before]:
            shared[before] = max(shared[before], call.num_cached_tokens)
    found: list[dict[str, Any]] = []
    for place, (call, tokens) in enumerate(zip(calls, shared, strict=True)):
        scope = "app" if place or not call.num_cached_tokens else "type"
        fields = {
            "shared_prefix_tokens": min(tokens, call.num_prompt_tokens),
            "prefix_scope": scope,
        }
        found.append(fields if tokens else {})
    return found


def _counts(call: RecordedCall) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if call.stage is not None:
        told["stage"] = call.stage
    told["prompt_tokens"] = call.num_prompt_tokens
    told["output_tokens"] = call.num_output_tokens
    if call.num_samples > 1:
        told["samples"] = call.num_samples
    return told


def _microseconds(seconds: float) -> float:
    """Return *seconds* cut to whole microseconds: never later than it was."""
    return math.floor(seconds * 1e6) / 1e6


def sort_recording(path: Path) -> int:
    """
    Put a recording in order of arrival.

    Arrivals count from the first one. Ids that occur again (late calls of an application, one
    taken down in parts or by several engines) are told apart. A last line that was cut off, where
    the server was killed as it wrote, is left out.

    Returns:
        How many applications it holds.

    Raises:
        ConfigurationError: The file cannot be read or written, or a line is no application.

    Changes: the file, in one piece.
    """
    try:
        with path.open(encoding="utf-8") as file:
            applications = [
                application
                for number, line in enumerate(file, start=1)
                if (application := _application(line, f"{path}, line {number}")) is not None
            ]
        applications.sort(key=lambda each: float(each["arrival_s"]))
        _count_from_first(applications)
        _tell_apart(applications)
        sorted_path = path.with_name(f"{path.name}.sorted")
        sorted_path.write_text(
            "".join(f"{_compact(each)}\n" for each in applications), encoding="utf-8"
        )
        sorted_path.replace(path)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{path} cannot be sorted: {reason}") from None
    return len(applications)


def _application(line: str, where: str) -> dict[str, Any] | None:
    """Return what *line* holds; None where it is blank or cut off."""
    if not line.strip():
        return None
    try:
        told = json.loads(line)
    except ValueError as exc:
        if not line.endswith("\n"):
            return None
        raise ConfigurationError(f"{where}: not JSON: {exc}") from None
    if not isinstance(told, dict) or not isinstance(told.get("app_id"), str):
        raise ConfigurationError(f"{where}: app_id: an application's id is missing")
    arrival_s = told.get("arrival_s")
    if not isinstance(arrival_s, int | float) or not math.isfinite(arrival_s):
        raise ConfigurationError(f"{where}: arrival_s: a number of seconds is missing")
    return told


def _count_from_first(applications: list[dict[str, Any]]) -> None:
    first = applications[0]["arrival_s"] if applications else 0
    for each in applications:
        each["arrival_s"] = round(each["arrival_s"] - first, 6)


def _tell_apart(applications: list[dict[str, Any]]) -> None:
    """Make `a`, `a` into `a`, `a+2`."""
    ids = {each["app_id"] for each in applications}
    seen: dict[str, int] = {}
    for each in applications:
        app_id = each["app_id"]
        seen[app_id] = seen.get(app_id, 0) + 1
        if seen[app_id] == 1:
            continue
        while (told_apart := f"{app_id}+{seen[app_id]}") in ids:
            seen[app_id] += 1
        ids.add(told_apart)
        each["app_id"] = told_apart


def _compact(told: dict[str, Any]) -> str:
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="replace").decode()  # a client's id may hold half a surrogate pair
