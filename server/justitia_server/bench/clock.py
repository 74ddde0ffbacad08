"""The real time of a run."""

from __future__ import annotations

import asyncio
import time


class MonotonicClock:
    """Seconds after the workload's beginning, by the system's monotonic clock."""

    def __init__(self) -> None:
        self._origin = time.monotonic()

    def set(self, at_s: float) -> None:
        """Let it be *at_s* now."""
        self._origin = time.monotonic() - at_s

    def now(self) -> float:
        """Return the present instant."""
        return time.monotonic() - self._origin

    async def sleep_until(self, at_s: float) -> None:
        """Return at *at_s*, at once if that is past."""
        if (left := at_s - self.now()) > 0:
            await asyncio.sleep(left)
