"""
The step log: what every engine step computed, and how long it took.

A step's time counts from the end of the step before or, where the engine had nothing to do, from
the call that woke it; it ends when the step's output has been processed. So while the engine is
busy the steps' times add up to the time that has passed, all overhead included, whether or not a
step is scheduled before the output of the one before is there. That is what a simulation has to
reproduce.

In the engine a step costs an entry in a bounded buffer. The API process fetches the entries and
appends them to a CSV file:

    ended_at        Unix seconds
    took_ms         milliseconds
    num_decoding    B, sequences that decode
    num_kv_tokens   K, KV tokens those hold
    chunks          of every prompt under way `h+n`, tokens computed before and in this step;
                    with blanks between
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from .step_shape import StepShape

NUM_STEPS_KEPT = 16_384
HEADER = "ended_at,took_ms,num_decoding,num_kv_tokens,chunks"

Entry = tuple[float, float, int, int, list[tuple[int, int]]]


class StepLog:
    """The latest steps of one engine, until they are fetched."""

    def __init__(self, *, to_unix: float = 0.0, num_kept: int = NUM_STEPS_KEPT) -> None:
        """
        Begin with an engine that has nothing to do.

        Args:
            to_unix: What makes Unix seconds of the engine's.
            num_kept: Steps kept; of more, the oldest are lost and counted.
        """
        self.num_lost = 0
        self._to_unix = to_unix
        self._steps: deque[Entry] = deque(maxlen=num_kept)
        self._planned: deque[StepShape] = deque()  # scheduled, output still to come
        self._free_at = 0.0  # since when the engine has had nothing else to do than the next step
        self._is_idle = True

    def __len__(self) -> int:
        return len(self._steps)

    def wake(self, now: float) -> None:
        """Take notice of a new call."""
        if self._is_idle:
            self._is_idle = False
            self._free_at = now

    def plan(self, shape: StepShape) -> None:
        """Take notice that a step is scheduled."""
        self._planned.append(shape)

    def end(self, now: float, *, has_more: bool) -> None:
        """Log the oldest step planned: its output has been processed; calls are left or not."""
        shape = self._planned.popleft()
        self.num_lost += len(self._steps) == self._steps.maxlen
        took = now - self._free_at
        self._steps.append((now, took, shape.num_decoding, shape.num_kv_tokens, shape.chunks))
        self._free_at = now
        self._is_idle = not (has_more or self._planned)

    def rest(self, now: float) -> None:
        """Take notice of a step that computed nothing: time up to here is nobody's."""
        self._free_at = now

    def take(self, most: int = NUM_STEPS_KEPT) -> list[Entry]:
        """Remove and return the oldest steps, *most* at most, their ends in Unix seconds."""
        oldest = [self._steps.popleft() for _ in range(min(most, len(self._steps)))]
        return [(ended_at + self._to_unix, *told) for ended_at, *told in oldest]  # type: ignore[misc]

    def take_num_lost(self) -> int:
        """Return how many steps were lost since this was last asked."""
        num_lost, self.num_lost = self.num_lost, 0
        return num_lost


def csv_lines(steps: Iterable[Sequence[Any]]) -> list[str]:
    """Return *steps*, as `StepLog.take` gives them, as lines of the file."""
    return [
        f"{ended_at:.3f},{took * 1000:.4f},{num_decoding},{num_kv_tokens},"
        + " ".join(f"{before}+{now}" for before, now in chunks)
        for ended_at, took, num_decoding, num_kv_tokens, chunks in steps
    ]
