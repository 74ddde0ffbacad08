"""
The wire contract between SDK and server: what the hints header says, and how.

Owns the header's names, limits, fields and their validation. Knows nothing of HTTP libraries,
contexts or scheduling; standard library only, since both sides import it.

One header, ``Justitia-Hints``, holds compact ASCII JSON of at most 2 KiB::

    {"v":1,"app":"01J…","type":"triage","call":"01J…","stage":"map","plan":[{"name":"map",…}]}

Unknown fields are ignored, so either side may be newer. Everything but ``v`` is optional.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .checks import check_count, check_name, check_number
from .errors import ConfigurationError, MalformedHints, OversizedHints, UnknownHintsVersion
from .plan import Plan, plan_fields, plan_from

HINTS_HEADER = "Justitia-Hints"
SERVER_HEADER = "Justitia-Server"  # on every reply of a Justitia server: the version it speaks
VERSION = 1
MAX_HINTS_BYTES = 2048
CALL_ROOM_BYTES = 256
MAX_INPUT_CHARS = 2**53
MAX_WEIGHT = 1e6  # and its inverse the least

_APPLICATION_FIELDS = ("app", "type", "weight", "deadline_s", "parent", "input", "input_chars")
_CALL_FIELDS = ("call", "attempt", "stage", "stage_index", "index", "group", "last")


@dataclass(frozen=True, slots=True)
class ApplicationHints:
    """
    What an application says of itself.

    Attributes:
        app: Its id (a ULID), the same on all its calls.
        type: The kind of application, for learning: ``"contract_summary"``.
        weight: Share of the server relative to others, from 1e-6 to 1e6.
        deadline_s: Seconds from arrival within which it is wanted, if any.
        parent: The id of the root application when this one is a child.
        plan: Its declared structure.
        input: What it works on, cut to fit; for the demand predictor.
        input_chars: Length of the whole input in characters.

    Raises:
        ConfigurationError: A field has no meaning.
    """

    app: str
    type: str = "application"
    weight: float = 1.0
    deadline_s: float | None = None
    parent: str | None = None
    plan: Plan | None = None
    input: str | None = None
    input_chars: int | None = None

    def __post_init__(self) -> None:
        check_name("app", self.app)
        check_name("type, the application's name,", self.type)
        check_number("weight", self.weight, above=0.0)
        if not 1 / MAX_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise ConfigurationError(
                f"weight must be from {1 / MAX_WEIGHT:g} to {MAX_WEIGHT:g}, not {self.weight!r}"
            )
        if self.deadline_s is not None:
            check_number("deadline_s", self.deadline_s, above=0.0)
        if self.parent is not None:
            check_name("parent", self.parent)
        if self.input_chars is not None:
            check_count("input_chars", self.input_chars, least=0, most=MAX_INPUT_CHARS)


@dataclass(frozen=True, slots=True)
class CallHints:
    """
    What one LLM call says of itself.

    Attributes:
        call: Its id, constant over retries.
        attempt: 0 for the first try.
        stage: Name of the stage it belongs to.
        stage_index: Place of the stage in the application, from 0; earlier is served first.
        index: Its place in its group, from 0.
        group: How many calls are issued together with it.
        last: Whether the application ends with it.

    Raises:
        ConfigurationError: A field has no meaning.
    """

    call: str | None = None
    attempt: int = 0
    stage: str | None = None
    stage_index: int | None = None
    index: int | None = None
    group: int | None = None
    last: bool = False

    def __post_init__(self) -> None:
        if self.call is not None:
            check_name("call", self.call)
        if self.stage is not None:
            check_name("stage", self.stage)
        for field in ("attempt", "stage_index", "index", "group"):
            if (value := getattr(self, field)) is not None:
                check_count(field, value, least=0)
        if not isinstance(self.last, bool):
            raise ConfigurationError(f"last must be true or false, not {self.last!r}")


_CALL_DEFAULTS = tuple((name, getattr(CallHints(), name)) for name in _CALL_FIELDS)


@dataclass(frozen=True, slots=True)
class Hints:
    """One header: the application and the call, either of which may be missing."""

    application: ApplicationHints | None = None
    call: CallHints = CallHints()


def encode_hints(hints: Hints) -> str:
    """
    Return the header's value: ASCII, at most 2 KiB.

    What does not fit is left out, dearest first: the input is cut, then dropped, then the plan
    and, where names are of a length that nobody needs, labels, type and call.
    """
    text = _dump(hints)
    for shortened in (_with_input_cut, _without_plan, _without_labels, _with_ids, _with_app):
        excess = len(text) - MAX_HINTS_BYTES
        if excess <= 0:
            break
        hints = shortened(hints, excess)
        text = _dump(hints)
    return text


def fitted(application: ApplicationHints) -> ApplicationHints:
    """Return *application* with its input cut so that a call's facts fit beside it, usually."""
    if application.input is None:
        return application
    hints = Hints(application)
    excess = len(_dump(hints)) + CALL_ROOM_BYTES - MAX_HINTS_BYTES
    return application if excess <= 0 else _with_input_cut(hints, excess).application or application


def decode_hints(value: str) -> Hints:
    """
    Read a header's value.

    Raises:
        OversizedHints: It is longer than 2 KiB.
        UnknownHintsVersion: It speaks another version.
        MalformedHints: It is not what the protocol describes; the message names the field.
    """
    if len(value) > MAX_HINTS_BYTES:
        raise OversizedHints(f"{HINTS_HEADER} has {len(value)} bytes, at most {MAX_HINTS_BYTES}")
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise MalformedHints(f"{HINTS_HEADER} is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise MalformedHints(f"{HINTS_HEADER} must hold a JSON object")
    if fields.get("v") != VERSION:
        raise UnknownHintsVersion(f"{HINTS_HEADER} speaks version {fields.get('v')!r}, not 1")
    try:
        return Hints(_application_from(fields), _call_from(fields))
    except (ConfigurationError, TypeError, ValueError) as exc:
        raise MalformedHints(f"{HINTS_HEADER}: {exc}") from exc


def application_hints_from(fields: Mapping[str, Any]) -> ApplicationHints:
    """
    Read an application from plain JSON fields, as in the header or a request body.

    Raises:
        MalformedHints: A field is missing or has no meaning; the message names it.
    """
    try:
        application = _application_from(fields)
    except (ConfigurationError, TypeError, ValueError) as exc:
        raise MalformedHints(str(exc)) from exc
    if application is None:
        raise MalformedHints("app is missing: give the application's id")
    return application


def application_fields(application: ApplicationHints) -> dict[str, Any]:
    """Return *application* as plain JSON fields; the inverse of `application_hints_from`."""
    fields: dict[str, Any] = {"app": application.app, "type": application.type}
    if application.weight != 1.0:
        fields["weight"] = application.weight
    for name in ("deadline_s", "parent", "input", "input_chars"):
        if (value := getattr(application, name)) is not None:
            fields[name] = value
    if application.plan is not None:
        fields["plan"] = plan_fields(application.plan)
    return fields


def _application_from(fields: Mapping[str, Any]) -> ApplicationHints | None:
    if fields.get("app") is None:
        return None
    known = {name: fields[name] for name in _APPLICATION_FIELDS if fields.get(name) is not None}
    plan = fields.get("plan")
    if (text := fields.get("input")) is not None and not isinstance(text, str):
        raise ConfigurationError("input must be a string")
    return ApplicationHints(**known, plan=None if plan is None else plan_from(plan))


def _call_from(fields: Mapping[str, Any]) -> CallHints:
    return CallHints(
        **{name: fields[name] for name in _CALL_FIELDS if fields.get(name) is not None}
    )


def _dump(hints: Hints) -> str:
    call = {
        name: value
        for name, absent in _CALL_DEFAULTS
        if (value := getattr(hints.call, name)) != absent
    }
    beginning = _beginning(hints.application)
    return f"{beginning},{_json(call)[1:]}" if call else beginning + "}"


@lru_cache(maxsize=256)
def _beginning(application: ApplicationHints | None) -> str:
    """Return the header up to the call's fields: the same for all calls of an application."""
    fields: dict[str, Any] = {"v": VERSION}
    if application is not None:
        fields.update(application_fields(application))
    return _json(fields)[:-1]


def _json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _with_input_cut(hints: Hints, excess: int) -> Hints:
    """Cut the input so that its JSON form is at least *excess* characters shorter."""
    application = hints.application
    if application is None or not application.input:
        return hints
    text = application.input
    length = application.input_chars or len(text)
    room = len(json.dumps(text)) - excess - len(f',"input_chars":{length}')
    # The longest beginning that fits: its JSON form grows with every character.
    kept = bisect_right(range(1, len(text)), room, key=lambda end: len(json.dumps(text[:end])))
    cut = text[:kept] or None
    return replace(hints, application=replace(application, input=cut, input_chars=length))


def _without_plan(hints: Hints, _excess: int) -> Hints:
    if hints.application is None:
        return hints
    return replace(hints, application=replace(hints.application, input=None, plan=None))


def _without_labels(hints: Hints, _excess: int) -> Hints:
    application = hints.application and replace(hints.application, parent=None)
    return Hints(application, replace(hints.call, stage=None))


def _with_ids(hints: Hints, _excess: int) -> Hints:
    application = hints.application and ApplicationHints(hints.application.app)
    return Hints(application, CallHints(hints.call.call, hints.call.attempt))


def _with_app(hints: Hints, _excess: int) -> Hints:
    return Hints(hints.application, CallHints())
