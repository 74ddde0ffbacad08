"""
What the server's books say of applications that have ended.

The server dates the fair finish of an application when its reference is done with it, which may be
long after it ended, and keeps the latest 1024 that have ended. So the others are asked for at the
end of the run, when nobody is left in the reference, and those before them when so many have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from dataclasses import dataclass
from itertools import compress
from typing import Any, Protocol

NUM_LEFT_TO_SETTLE = 512
SETTLE_S = 15.0
_PAUSE_S = 0.2


class Ended(Protocol):
    """An application that has ended."""

    @property
    def app_id(self) -> str:
        """Its id in the workload."""

    async def ask_receipt(self) -> dict[str, Any] | None:
        """Return what the server says of it, None where it does not know it."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    What is known of one application; NaN where it is not.

    Attributes:
        predicted_cost: What its tag was formed with, in the policy's unit.
        attained_cost: What it was charged.
        lateness_s: Finish minus fair finish, by the server's clock.
        late_iterations: The same in engine iterations.
        bound_iterations: The most it may be late.
        is_final: The reference will not move any more.
    """

    predicted_cost: float = math.nan
    attained_cost: float = math.nan
    lateness_s: float = math.nan
    late_iterations: float = math.nan
    bound_iterations: float = math.nan
    is_final: bool = False


UNKNOWN = Receipt()


def read_receipt(told: dict[str, Any]) -> Receipt:
    """Read an application as `GET /v1/applications/{id}` shows it."""
    is_final = told["state"] == "finished" and not told["fair_finish_is_provisional"]
    return Receipt(
        # Of what was predicted at its arrival: `predicted_cost` has followed the use since.
        predicted_cost=(told["virtual_finish"] - told["virtual_start"]) * told["weight"],
        attained_cost=told["attained_cost"],
        lateness_s=_number(told["lateness_s"]) if is_final else math.nan,
        late_iterations=_number(told["lateness_iterations"]) if is_final else math.nan,
        bound_iterations=_number(told["bound_iterations"]),
        is_final=is_final,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


class Receipts:
    """Collects receipts, by the application's id in the workload."""

    def __init__(self) -> None:
        self._found: dict[str, Receipt] = {}
        self._unasked: deque[Ended] = deque()

    def of(self, app_id: str) -> Receipt:
        """Return the receipt of *app_id*, one that knows nothing if there is none."""
        return self._found.get(app_id, UNKNOWN)

    async def note_end(self, application: Ended) -> None:
        """Take notice that *application* has ended; ask for one that did long ago."""
        self._unasked.append(application)
        if len(self._unasked) > NUM_LEFT_TO_SETTLE:
            await self._ask(self._unasked.popleft())

    async def settle(self, limit_s: float = SETTLE_S) -> None:
        """Ask for all the others until each is final, or *limit_s* seconds have passed."""
        waiting = list(self._unasked)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while waiting:
                    settling = await asyncio.gather(*(self._ask(each) for each in waiting))
                    waiting = list(compress(waiting, settling))
                    await asyncio.sleep(_PAUSE_S if waiting else 0)

    async def _ask(self, application: Ended) -> bool:
        """Ask for a receipt; return whether a later one will say more."""
        told = await application.ask_receipt()
        if told is None:
            return False
        receipt = self._found[application.app_id] = read_receipt(told)
        return not receipt.is_final
