"""
What one run of the demo's applications left behind, and the arithmetic on it.

Instants are seconds after the start of the run, by the client's clock. Cost and service are KV
token-time: one KV token held for one engine iteration. Pure: reads one file, knows no server.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from justitia_server.serve.watch import ServerUse


@dataclass(frozen=True, slots=True)
class Call:
    """
    One LLM call of an application.

    Attributes:
        start_s: When it was sent.
        running_from_s: When the engine first scheduled it, if the server said so.
        end_s: When its reply was complete.
        prompt_tokens: Tokens of the prompt.
        output_tokens: Tokens of the answer.
    """

    start_s: float
    running_from_s: float | None
    end_s: float
    prompt_tokens: int
    output_tokens: int

    @property
    def cost(self) -> float:
        """Its KV token-time, ``p*d + d*(d+1)/2``; prompts shared between calls count for each."""
        p, d = self.prompt_tokens, self.output_tokens
        return p * d + d * (d + 1) / 2


@dataclass(frozen=True, slots=True)
class Application:
    """
    One application: when it came, when it was done, and its calls.

    Attributes:
        app_id: Its name, the same in every run.
        kind: Which of the demo's kinds it is.
        arrival_s: When it was due to arrive.
        started_s: When it really started; later only if the client was held up.
        finish_s: When it had its result, or failed.
        error: Why it failed, or None.
        calls: Its calls, by start.
    """

    app_id: str
    kind: str
    arrival_s: float
    started_s: float
    finish_s: float
    error: str | None
    calls: tuple[Call, ...]

    @property
    def jct_s(self) -> float:
        """Completion time: from arrival to result."""
        return self.finish_s - self.arrival_s

    @property
    def cost(self) -> float:
        """KV token-time of all its calls."""
        return sum(call.cost for call in self.calls)

    def running_levels(self) -> list[tuple[float, float, int]]:
        """Return how many of its calls ran when: ``(from, to, calls)`` in order, gaps left out."""
        changes: Counter[float] = Counter()
        for call in self.calls:
            if call.running_from_s is not None:
                changes[call.running_from_s] += 1
                changes[call.end_s] -= 1
        instants = sorted(changes)
        running = accumulate(changes[instant] for instant in instants)
        levels = zip(instants, instants[1:], running, strict=False)
        return [(start, end, calls) for start, end, calls in levels if calls]


@dataclass(frozen=True, slots=True)
class Run:
    """One server's run of the arrivals."""

    server: str
    applications: tuple[Application, ...]
    use: ServerUse

    @property
    def finished(self) -> list[Application]:
        """The applications that have a result."""
        return [application for application in self.applications if application.error is None]

    @property
    def failed(self) -> list[Application]:
        """The applications that have none."""
        return [application for application in self.applications if application.error is not None]

    @property
    def makespan_s(self) -> float:
        """From the first arrival to the last finish."""
        first = min(application.arrival_s for application in self.applications)
        return max(application.finish_s for application in self.applications) - first

    @property
    def total_tokens(self) -> int:
        """Prompt and output tokens of all calls."""
        calls = (call for application in self.applications for call in application.calls)
        return sum(call.prompt_tokens + call.output_tokens for call in calls)

    @property
    def total_cost(self) -> float:
        """KV token-time of all calls."""
        return sum(application.cost for application in self.applications)

    @property
    def worst_slip_s(self) -> float:
        """The longest time by which an application started after its arrival."""
        return max(item.started_s - item.arrival_s for item in self.applications)


def load_applications(path: Path) -> tuple[Application, ...]:
    """Read a results file, one JSON line an application; return them by arrival."""
    lines = path.read_text(encoding="utf-8").splitlines()
    read = [_application_from(json.loads(line)) for line in lines]
    return tuple(sorted(read, key=lambda item: (item.arrival_s, item.app_id)))


def mean_jct_s(applications: Sequence[Application]) -> float:
    """Return the mean completion time; NaN of none."""
    if not applications:
        return math.nan
    return sum(application.jct_s for application in applications) / len(applications)


def p90_jct_s(applications: Sequence[Application]) -> float:
    """Return the completion time that nine in ten do not exceed (nearest rank); NaN of none."""
    if not applications:
        return math.nan
    ordered = sorted(application.jct_s for application in applications)
    return ordered[math.ceil(0.9 * len(ordered)) - 1]


def offered_load(run: Run, *, capacity_tokens: int) -> float:
    """
    Return the KV token-time that arrived per unit that the server could have given meanwhile.

    The work of all calls over ``capacity * iterations/s * arrival span``, with the iteration rate
    measured in the same run while it was busy. Above 1 work arrives faster than it can be done.
    """
    arrivals = [application.arrival_s for application in run.applications]
    capacity = capacity_tokens * run.use.iterations_per_s * (max(arrivals) - min(arrivals))
    return run.total_cost / capacity if capacity else math.nan


def _application_from(fields: dict[str, Any]) -> Application:
    return Application(
        app_id=fields["app_id"],
        kind=fields["kind"],
        arrival_s=fields["arrival_s"],
        started_s=fields["started_s"],
        finish_s=fields["finish_s"],
        error=fields["error"],
        calls=tuple(Call(**call) for call in fields["calls"]),
    )
