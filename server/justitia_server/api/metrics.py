"""
What the API process exports to Prometheus, beside vLLM's own metrics on `/metrics`.

Every name is defined here. Scheduler figures come from the engine with each poll. Of several API
processes each counts its own calls, and what all see alike is told by whoever saw it last.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from ..prediction.online import OnlinePredictor
from ..prediction.scoring import Scores

logger = logging.getLogger("justitia.server.api")

HINTS = Counter(
    "justitia_hints", "Calls by what became of their hints header", ["outcome"]
)  # ok, absent, malformed, oversized, unknown_version, failed
PREDICTIONS = Counter(
    "justitia_predictions", "Predicted costs by the rung they come from", ["source"]
)
PREDICTION_SECONDS = Histogram(
    "justitia_prediction_seconds", "Time of one prediction", ["when"],
    buckets=(2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2),
)  # fmt: skip
PREDICTION_ERROR = Histogram(
    "justitia_prediction_error", "Relative errors of costs predicted at arrival",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0),
)  # fmt: skip
REVISIONS = Counter("justitia_revisions", "Predictions revised while running", ["outcome"])
PREDICTOR = Gauge(
    "justitia_predictor", "State of the predictor, and how good its latest answers were", ["figure"]
)
EXAMPLES = Counter(
    "justitia_examples", "Ended applications by what became of their example", ["outcome"]
)  # stored, dropped
TRAINING_RUNS = Counter(
    "justitia_training_runs", "Training runs by what came of them", ["outcome"]
)  # better, not_better, too_few, busy, failed, timeout, ended
MODEL_VERSION = Gauge(
    "justitia_model_version", "Version of the trained model in use; 0 for none",
    multiprocess_mode="mostrecent",
)  # fmt: skip
FAILURES = Counter("justitia_failures", "Errors of ours that did not stop serving", ["where"])
SCHEDULER = Gauge(
    "justitia_scheduler", "State of the scheduler at the last poll", ["engine", "figure"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
SCHEDULER_ERRORS = Gauge(
    "justitia_scheduler_errors", "Errors in the books that did not stop serving",
    ["engine", "kind"], multiprocess_mode="mostrecent",
)  # fmt: skip

_warned: set[str] = set()


@cache
def _hints(outcome: str) -> Counter:
    """Return the counter of *outcome*: looking it up by its label costs more than counting."""
    return HINTS.labels(outcome)


def count_hints(outcome: str, detail: str = "") -> None:
    """Count *outcome*; the first one that is not normal is logged."""
    _hints(outcome).inc()
    if outcome not in ("ok", "absent"):
        warn_once(outcome, f"hints are {outcome.replace('_', ' ')}: {detail}")


def count_failure(where: str, exc: Exception) -> None:
    """Count an error that stopped nothing; the first of its place is logged."""
    FAILURES.labels(where.replace(" ", "_")).inc()
    warn_once(where, f"{where} failed: {exc!r}")


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


def export_predictor(predictor: OnlinePredictor, latest: Scores | None) -> None:
    """Publish the predictor's figures; *latest* of its answers, where there are new ones."""
    PREDICTOR.labels("plans_clamped").set(predictor.ladder.num_absurd)
    PREDICTOR.labels("model_failures").set(predictor.num_failed)
    if latest is None:
        return
    figures = {
        "median_relative_error": latest.median_error,
        "log_rmse": latest.log_rmse,
        "kendall_tau": latest.tau,
        "interval_coverage": latest.coverage,
    }
    for name, value in figures.items():
        if value is not None:
            PREDICTOR.labels(name).set(value)
