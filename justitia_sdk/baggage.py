"""
W3C baggage and trace context: the id of an application on its way to another process.

Ids only: of an application travel its id and its type, never its input. Header names are those
of https://www.w3.org/TR/baggage and https://www.w3.org/TR/trace-context; in an environment they are
in capitals, as OpenTelemetry has it. An application's id is a ULID: 128 bits, as a trace id has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from urllib.parse import quote, unquote

from .ids import trace_id_of, ulid_of

BAGGAGE = "baggage"
TRACEPARENT = "traceparent"
MAX_BAGGAGE_CHARS = 8192

_APP = "justitia-app"
_TYPE = "type"


def carrier_of(app_id: str, app_type: str) -> dict[str, str]:
    """Return the headers that name an application."""
    member = f"{_APP}={quote(app_id, safe='')};{_TYPE}={quote(app_type, safe='')}"
    carrier = {BAGGAGE: member}
    with contextlib.suppress(ValueError):  # an id that came from elsewhere
        carrier[TRACEPARENT] = f"00-{trace_id_of(app_id)}-{os.urandom(8).hex()}-01"
    return carrier


def environment_of(app_id: str, app_type: str, around: Mapping[str, str]) -> dict[str, str]:
    """
    Return the variables that name an application.

    Others' trace in *around* is kept, and of their baggage what still fits.
    """
    carrier = carrier_of(app_id, app_type)
    baggage = carrier[BAGGAGE]
    for member in _members(around.get(BAGGAGE.upper(), "")):
        longer = f"{baggage},{member}"
        if not _is_ours(member) and len(longer) <= MAX_BAGGAGE_CHARS:
            baggage = longer
    variables = {BAGGAGE.upper(): baggage}
    trace = around.get(TRACEPARENT.upper(), carrier.get(TRACEPARENT))
    return variables if trace is None else {**variables, TRACEPARENT.upper(): trace}


def read_baggage(carrier: Mapping[str, str]) -> tuple[str, str | None] | None:
    """Return the id and, if told, the type of the application *carrier* names in its baggage."""
    for member in _members(_value_of(carrier, BAGGAGE)):
        if not _is_ours(member):
            continue
        pair, *properties = (part.strip() for part in member.split(";"))
        app_id = unquote(pair.partition("=")[2].strip())
        told = dict(each.partition("=")[::2] for each in properties)
        return (app_id, unquote(told[_TYPE]) if told.get(_TYPE) else None) if app_id else None
    return None


def read_traceparent(carrier: Mapping[str, str]) -> str | None:
    """Return the application id that *carrier*'s trace id stands for, if it has one."""
    parts = _value_of(carrier, TRACEPARENT).strip().split("-")
    if len(parts) < 4 or parts[1] == "0" * 32:
        return None
    try:
        return ulid_of(parts[1])
    except ValueError:
        return None


def _value_of(carrier: Mapping[str, str], name: str) -> str:
    """Return a header's value; header names are in any case, variables in capitals."""
    for key in (name, name.upper(), name.title()):
        if (value := carrier.get(key)) is not None:
            return value if isinstance(value, str) else ""
    return next((value for key, value in carrier.items() if key.lower() == name), "")


def _members(value: str) -> list[str]:
    if len(value) > MAX_BAGGAGE_CHARS:
        return []
    return [member.strip() for member in value.split(",") if member.strip()]


def _is_ours(member: str) -> bool:
    return member.partition("=")[0].strip() == _APP
