"""First come, first served by call: vLLM's own order."""

from __future__ import annotations

from ..accounts import Account, Call
from .base import Victim


class Fcfs:
    """Serve calls in the order they came, whoever they belong to."""

    name = "fcfs"
    victim = Victim.LAST_ADMITTED
    reads_service = False

    def arrive(self, account: Account) -> None:
        """Nothing to note."""

    def charge(self, account: Account, service: int) -> None:
        """Nothing to note."""

    def finish(self, account: Account) -> None:
        """Nothing to forget."""

    def order(self, call: Call) -> tuple[float, ...]:
        """Return (arrival number,)."""
        return (call.arrival_seq,)

    def place(self, call: Call) -> tuple[int, ...]:
        """Return (arrival number,)."""
        return (call.arrival_seq,)
