"""
Justitia: serve applications in the order in which fair sharing would finish them.

Key of a call: (F of its application, the application's arrival number, stage, arrival number).
F = V + C / w is set by the ledger from the fluid reference when the application arrives.
The first application takes all the memory it can use; what it cannot use goes to the next.

Reference: arXiv:2510.17015, section 3 (selective pampering).
"""

from __future__ import annotations

from ..accounts import Account, Call
from .base import Victim


class Justitia:
    """Serve the application with the smallest virtual finish first."""

    name = "justitia"
    victim = Victim.LAST_IN_ORDER
    reads_service = False

    def arrive(self, account: Account) -> None:
        """Nothing to note: the tag is in the account."""

    def charge(self, account: Account, service: int) -> None:
        """Nothing to note: tags do not follow service."""

    def finish(self, account: Account) -> None:
        """Nothing to forget."""

    def order(self, call: Call) -> tuple[float, ...]:
        """Return (F, application's arrival number, stage, arrival number)."""
        account = call.account
        return (
            account.virtual_finish,
            account.arrival_seq,
            call.facts.stage_index,
            call.arrival_seq,
        )

    def place(self, call: Call) -> tuple[int, ...]:
        """Return (stage, arrival number)."""
        return (call.facts.stage_index, call.arrival_seq)
