"""
What a policy is: an order of waiting calls, and a victim when memory runs out.

A policy sees applications arrive, get service and finish; it owns whatever state its order needs
and nothing else. *Which call next* is asked here; *does it fit* is the engine's question.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from ..accounts import Account, Call


class Victim(Enum):
    """Which running call gives up its memory when none is left."""

    LAST_ADMITTED = "last admitted"  # as vLLM does first come, first served
    LAST_IN_ORDER = "last in order"  # the call the policy would serve last


class Policy(Protocol):
    """
    An order of calls. Keys are tuples that end in an arrival number; smaller is served first.

    An application's key may change while it waits; when it may have *fallen*, the policy's user
    must tell the queue (`CallQueue.refresh`). Growth is noticed by itself.
    """

    name: str
    victim: Victim
    reads_service: bool  # its order follows attained service, which must then be read every step

    def arrive(self, account: Account) -> None:
        """Take notice of an application's first call; its tags are set."""

    def charge(self, account: Account, service: int) -> None:
        """Take notice of KV token-time delivered to it."""

    def finish(self, account: Account) -> None:
        """Forget the application."""

    def order(self, call: Call) -> tuple[float, ...]:
        """Return the key of *call* among all waiting calls, as things stand now."""

    def place(self, call: Call) -> tuple[int, ...]:
        """Return the key of *call* within its application; it never changes."""
