"""First come, first served: by call, as vLLM does, and by application, as Parrot does."""

from __future__ import annotations

from ..accounts import Account, Call
from .base import BasePolicy, Key, Victim, place_in_application


class Fcfs(BasePolicy):
    """Serve calls in the order they came, whoever they belong to."""

    name = "fcfs"
    victim = Victim.LAST_ADMITTED

    def key(self, call: Call, depth: int) -> Key:
        """Return (arrival number,)."""
        return (call.arrival_seq,)


class ApplicationFcfs(BasePolicy):
    """Serve applications in the order of their first calls (Parrot, OSDI 2024)."""

    name = "app_fcfs"
    victim = Victim.LAST_ADMITTED

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the application."""
        return (account.app_id,)

    def key(self, call: Call, depth: int) -> Key:
        """Return (application's arrival number,), then the place in it."""
        return (call.account.arrival_seq,) if depth == 0 else place_in_application(call)
