"""Shortest first: by call, and by what an application has left. Both starve what is large."""

from __future__ import annotations

from ..accounts import Account, Call
from .base import BasePolicy, Key, place_in_application


class Sjf(BasePolicy):
    """Serve the call with the smallest predicted cost first."""

    name = "sjf"

    def key(self, call: Call, depth: int) -> Key:
        """Return (predicted cost of the call, arrival number)."""
        return (call.predicted_cost, call.arrival_seq)


class Srjf(BasePolicy):
    """Serve the application with the least predicted cost remaining first."""

    name = "srjf"
    reads_service = True

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the application."""
        return (account.app_id,)

    def key(self, call: Call, depth: int) -> Key:
        """Return (remaining cost, application's arrival number), then the place in it."""
        if depth == 1:
            return place_in_application(call)
        account = call.account
        remaining = account.predicted_cost - account.attained_service
        return (max(remaining, 0.0), account.arrival_seq)
