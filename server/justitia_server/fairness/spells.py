"""
How an application spends its time: waiting, running, at tools.

Kept at the moments at which a call begins to wait, is admitted or ends, and at which an event tells
of a tool, in O(1) each. Instants are arguments, in the caller's monotonic seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

MOST_EXPECTED_S = 86_400.0  # of a tool: for longer its word is not taken


class Phase(Enum):
    """What an application does at an instant."""

    IDLE = "idle"  # no call of it is here
    WAITING = "waiting"  # calls wait, preempted ones too, and none runs
    RUNNING = "running"  # at least one call is in the engine's batch


@dataclass(slots=True)
class Spells:
    """
    Seconds in which an application has waited and run; the rest of its life it was idle.

    Attributes:
        wait_s: In which it had calls waiting and none running, the present spell left out.
        run_s: In which at least one of its calls was running, the present spell left out.
        phase: Of the present spell.
        since_at: When that began.
    """

    wait_s: float = 0.0
    run_s: float = 0.0
    phase: Phase = Phase.IDLE
    since_at: float = 0.0

    def enter(self, phase: Phase, now: float) -> None:
        """Take notice that it is in *phase* from now on; nothing happens if it was before."""
        if phase is self.phase:
            return
        self.wait_s, self.run_s = self.until(now)
        self.phase, self.since_at = phase, now

    def until(self, now: float) -> tuple[float, float]:
        """Return the seconds waited and run, the present spell included."""
        spell_s = now - self.since_at
        if self.phase is Phase.WAITING:
            return self.wait_s + spell_s, self.run_s
        if self.phase is Phase.RUNNING:
            return self.wait_s, self.run_s + spell_s
        return self.wait_s, self.run_s


@dataclass(slots=True)
class Tools:
    """
    The tools, or persons, that an application has told of: it is at them until all have ended.

    Attributes:
        num_open: Begun and not ended.
        since_at: When it came to be at a tool, if it is.
        expected_until_at: When the last of those under way is expected to end; in the infinite past
            where nothing was told of that.
        total_s: Seconds in which it was at one or more tools, the present spell left out.
    """

    num_open: int = 0
    since_at: float | None = None
    expected_until_at: float = -math.inf
    total_s: float = 0.0

    def start(self, now: float, expected_s: float | None = None) -> None:
        """Take notice that one begins, which is to take *expected_s* seconds, if that is known."""
        self.num_open += 1
        if self.since_at is None:
            self.since_at = now
        if expected_s is not None:
            until_at = now + min(expected_s, MOST_EXPECTED_S)
            self.expected_until_at = max(self.expected_until_at, until_at)

    def end(self, now: float) -> None:
        """Take notice that one ends; nothing happens if none is under way."""
        self.num_open = max(self.num_open - 1, 0)
        if not self.num_open:
            self.close(now)

    def close(self, at: float) -> None:
        """Take notice that all have ended."""
        self.total_s = self.until(at)
        self.num_open, self.since_at, self.expected_until_at = 0, None, -math.inf

    def until(self, now: float) -> float:
        """Return the seconds in which it was at one or more, the present spell included."""
        return self.total_s if self.since_at is None else self.total_s + now - self.since_at

    @property
    def expected_s(self) -> float | None:
        """How long the present spell is expected to take, from its beginning; None if unknown."""
        if self.since_at is None or self.expected_until_at < self.since_at:
            return None
        return self.expected_until_at - self.since_at
