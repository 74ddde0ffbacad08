"""What became of every application of a run, and the file it is written to."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .waits import Waits

COLUMNS = (
    "policy", "app_id", "app_type", "tenant", "arrival_s", "finish_s", "jct_s", "cost",
    "predicted_cost", "fair_finish_s", "lateness_s", "bound_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one application. Of a live server not all of it is known: that is NaN.

    Attributes:
        app_id: Its id.
        app_type: Its family.
        tenant: Who was billed.
        arrival_s: When it arrived.
        finish_s: When its last call ended.
        cost: True KV token-time, nothing deducted.
        predicted_cost: What the scheduler was told, in the policy's unit.
        true_cost: The true cost in that unit.
        num_output_tokens: Tokens it produced.
        fair_finish_s: When the delivered reference was done with it.
        fair_finish_nominal_s: The same of the nominal one.
        late_iterations: Finish minus fair finish, delivered, in engine iterations.
        late_iterations_nominal: The same, nominal.
        bound_iterations: The most it may be late by the bound, as the books have it.
        bound_s: That many iterations at the mean length of the run's.
        is_single_stage: No call waits for another.
        starved_s: The longest time it had calls in the server and got no token.
    """

    app_id: str
    app_type: str
    tenant: str
    arrival_s: float
    finish_s: float
    cost: float
    predicted_cost: float
    true_cost: float
    num_output_tokens: int
    fair_finish_s: float
    fair_finish_nominal_s: float
    late_iterations: float
    late_iterations_nominal: float
    bound_iterations: float
    bound_s: float
    is_single_stage: bool
    starved_s: float

    @property
    def jct_s(self) -> float:
        """Completion time: finish minus arrival."""
        return self.finish_s - self.arrival_s

    @property
    def lateness_s(self) -> float:
        """Finish minus fair finish, delivered reference; positive is late."""
        return self.finish_s - self.fair_finish_s

    @property
    def lateness_nominal_s(self) -> float:
        """Finish minus fair finish, nominal reference."""
        return self.finish_s - self.fair_finish_nominal_s


@dataclass(frozen=True, slots=True)
class Failure:
    """
    An application that a live server did not serve to its end.

    Attributes:
        app_id: Its id.
        app_type: Its family.
        tenant: Who was billed.
        arrival_s: When it arrived.
        cost: True KV token-time of all its calls.
        reason: Which call failed, and why.
    """

    app_id: str
    app_type: str
    tenant: str
    arrival_s: float
    cost: float
    reason: str


@dataclass(slots=True)
class Run:
    """
    One workload under one policy. What is not known is NaN.

    Attributes:
        policy: Its name.
        seed: Of the workload and of prediction errors; 0 for a file.
        outcomes: By application, in order of arrival.
        num_iterations: Engine iterations.
        busy_s: Seconds in which it computed.
        num_preemptions: Calls that gave up their memory.
        kv_usage: Mean share of the KV memory in use while it computed, by time.
        arrival_us: CPU time to take a call in, mean.
        step_us: CPU time of a step's scheduling, mean.
        capacity: M, KV tokens.
        holdings: From time to time, the KV tokens that each application's calls hold.
        waits: Of the application to be explained, if any.
        failures: Applications that are in no measure, since they failed.
    """

    policy: str
    seed: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    num_iterations: int = 0
    busy_s: float = 0.0
    num_preemptions: float = 0
    kv_usage: float = 0.0
    arrival_us: float = 0.0
    step_us: float = 0.0
    capacity: int = 0
    holdings: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    waits: Waits | None = None
    failures: list[Failure] = field(default_factory=list)


def write_applications(path: Path, runs: Iterable[Run]) -> None:
    """Write one row an application and policy; what is not known is an empty cell."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for run in runs:
            for each in (*run.outcomes, *run.failures):
                cells = (_shown(getattr(each, name, math.nan)) for name in COLUMNS[1:])
                rows.writerow([run.policy, *cells])


def _shown(value: object) -> object:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6f}".rstrip("0").rstrip(".")
