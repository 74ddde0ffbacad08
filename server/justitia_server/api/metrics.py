"""
What the API process exports to Prometheus, beside vLLM's own metrics on `/metrics`.

Every name is defined here. Scheduler figures come from the engine with each poll.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from prometheus_client import Counter, Gauge

logger = logging.getLogger("justitia.server.api")

HINTS = Counter(
    "justitia_hints", "Calls by what became of their hints header", ["outcome"]
)  # ok, absent, malformed, oversized, unknown_version, failed
PREDICTIONS = Counter(
    "justitia_predictions", "Predicted costs by the rung they come from", ["source"]
)
SCHEDULER = Gauge(
    "justitia_scheduler", "State of the scheduler at the last poll", ["engine", "figure"]
)
SCHEDULER_ERRORS = Gauge(
    "justitia_scheduler_errors", "Errors in the books that did not stop serving", ["engine", "kind"]
)

_warned: set[str] = set()


def count_hints(outcome: str, detail: str = "") -> None:
    """Count *outcome*; the first one that is not normal is logged."""
    HINTS.labels(outcome).inc()
    if outcome not in ("ok", "absent"):
        warn_once(outcome, f"hints are {outcome.replace('_', ' ')}: {detail}")


def warn_once(kind: str, message: str) -> None:
    """Log the first warning of a *kind*; the rest are only counted."""
    if kind not in _warned:
        _warned.add(kind)
        logger.warning("%s (served all the same; further ones are only counted)", message)


def export_state(engine: int, state: Mapping[str, Any]) -> None:
    """Publish the figures of one engine's `state` answer."""
    for figure, value in state.items():
        if isinstance(value, int | float):
            SCHEDULER.labels(str(engine), figure).set(value)
    for kind, number in state["errors"].items():
        SCHEDULER_ERRORS.labels(str(engine), kind).set(number)
