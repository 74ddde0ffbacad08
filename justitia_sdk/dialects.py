"""
The same hints in other servers' words.

    justitia   one header, ``Justitia-Hints``; harmless everywhere, and the default
    vllm       ``X-Session-ID``, ``X-Vllm-Priority``
    dynamo     ``X-Dynamo-Session-ID``, and in the body ``nvext.agent_hints``
    llm-d      ``x-llm-d-inference-fairness-id``, ``x-session-id``
    sglang     ``x-smg-routing-key``, ``x-override-priority``
    openai     ``X-Client-Request-Id``: which call it is, and nothing of the application

A weight w becomes a level, log2(w) rounded; servers disagree whether low or high goes first, which
is settled here. A level of 0, the weight of everybody, is not sent: a server without priorities may
refuse the header.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .errors import ConfigurationError
from .protocol import HINTS_HEADER, Hints, encode_hints

DEFAULT_DIALECT = "justitia"

Headers = Callable[[Hints], dict[str, str]]
Body = Callable[[Hints], dict[str, Any]]


def check_dialect(dialect: str | None) -> str:
    """
    Return the dialect's name, that of the default for None.

    Raises:
        ConfigurationError: There is no such dialect.
    """
    if dialect is None:
        return DEFAULT_DIALECT
    if not isinstance(dialect, str) or dialect not in _HEADERS:
        known = ", ".join(_HEADERS)
        raise ConfigurationError(f"dialect must be one of {known}, not {dialect!r:.60}")
    return dialect


def headers_in(dialect: str, hints: Hints) -> dict[str, str]:
    """Return the headers that say *hints* in *dialect*."""
    return _HEADERS[dialect](hints)


def body_in(dialect: str, hints: Hints) -> dict[str, Any]:
    """Return the body fields that say what headers of *dialect* cannot; mostly none."""
    return _BODIES[dialect](hints) if dialect in _BODIES else {}


def has_body(dialect: str) -> bool:
    """Whether *dialect* says anything in the body."""
    return dialect in _BODIES


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return *other* laid over *one*, objects within objects merged; neither is changed."""
    both = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            both[key] = merged(one[key], other[key])
    return both


def _level(hints: Hints) -> int:
    """Return the importance: 0 for weight 1, one more for every doubling."""
    weight = hints.application.weight if hints.application else 1.0
    return round(math.log2(weight))


def _app_of(hints: Hints) -> str:
    return hints.application.app if hints.application else ""


def _justitia(hints: Hints) -> dict[str, str]:
    return {HINTS_HEADER: encode_hints(hints)}


def _vllm(hints: Hints) -> dict[str, str]:
    level = _level(hints)
    priority = {"X-Vllm-Priority": str(-level)} if level else {}  # low goes first
    return {"X-Session-ID": _app_of(hints), **priority}


def _dynamo(hints: Hints) -> dict[str, str]:
    return {"X-Dynamo-Session-ID": _app_of(hints)}


def _dynamo_body(hints: Hints) -> dict[str, Any]:
    told: dict[str, int] = {}
    if level := _level(hints):
        told["priority"] = level  # high goes first
    if tokens := _output_tokens(hints):
        told["osl"] = tokens
    return {"nvext": {"agent_hints": told}} if told else {}


def _output_tokens(hints: Hints) -> int | None:
    plan = hints.application.plan if hints.application else None
    found = (stage for stage in (plan.stages if plan else ()) if stage.name == hints.call.stage)
    return next((stage.output_tokens for stage in found), None)


def _llm_d(hints: Hints) -> dict[str, str]:
    return {"x-llm-d-inference-fairness-id": _app_of(hints), "x-session-id": _app_of(hints)}


def _sglang(hints: Hints) -> dict[str, str]:
    level = _level(hints)
    priority = {"x-override-priority": str(level)} if level else {}  # high goes first
    return {"x-smg-routing-key": _app_of(hints), **priority}


def _openai(hints: Hints) -> dict[str, str]:
    return {"X-Client-Request-Id": hints.call.call} if hints.call.call else {}


_HEADERS: dict[str, Headers] = {
    "justitia": _justitia,
    "vllm": _vllm,
    "dynamo": _dynamo,
    "llm-d": _llm_d,
    "sglang": _sglang,
    "openai": _openai,
}
_BODIES: dict[str, Body] = {"dynamo": _dynamo_body}
