"""
How each application stands to the fluid reference: who is in it, and when it is done with whom.

The reference is fed with what the engine delivers. An application's *fair finish* is the instant at
which it leaves, and is dated here, in seconds and in engine iterations. One that has ended earlier
than that is *settling*: it stays in the reference, with what it really used, until its fair finish
is known.

With true costs told at arrival the reference is the shadow reference that fairness is measured
against. With predictions it is the best that is known: exact for an application once every one
that was backlogged with it has ended.
"""

from __future__ import annotations

from .accounts import Account
from .feed import Feed
from .reference import Reference


class Standings:
    """The reference, and the accounts of those in it. Instants are arguments."""

    def __init__(self, reference: Reference, feed: Feed) -> None:
        self.reference = reference
        self.feed = feed
        self.iteration = 0  # of the engine, the present one
        self._accounts: dict[str, Account] = {}  # of those whom the reference keeps
        self._settling: dict[str, None] = {}

    @property
    def num_settling(self) -> int:
        """Applications that have ended and that the reference is not done with."""
        return len(self._settling)

    def arrive(self, account: Account) -> None:
        """
        Let *account* arrive with its predicted cost; an earlier one of its id settles no more.

        Raises:
            AccountingError: A weight or cost that makes no sense.
        """
        app_id, facts = account.app_id, account.facts
        if app_id in self._accounts:
            self._forget(app_id)
        self.reference.arrive(app_id, facts.tenant, account.predicted_cost, weight=facts.weight)
        self._accounts[app_id] = account

    def advance(self, now: float) -> None:
        """Give the reference what was fed; date the fair finish of those who leave it."""
        for app_id in self.reference.advance(self.feed.take()):
            self._leave(app_id, now)

    def revise(self, account: Account, cost: float, now: float) -> None:
        """
        Replace what *account* is predicted to cost.

        Raises:
            AccountingError: The cost makes no sense.
        """
        is_backlogged = self.reference.correct(account.app_id, cost)
        account.predicted_cost = cost
        self._date(account, now, is_backlogged=is_backlogged)

    def pause(self, account: Account, now: float) -> None:
        """Let the reference give *account* what it has really received, and no more for now."""
        is_backlogged = self.reference.pause(account.app_id, account.attained_service)
        self._date(account, now, is_backlogged=is_backlogged)

    def resume(self, account: Account, now: float) -> float:
        """Let a paused one go on; return by how much its S has moved."""
        shift = self.reference.resume(account.app_id)
        self._date(account, now, is_backlogged=self.reference.is_backlogged(account.app_id))
        return shift

    def settle(self, account: Account, now: float) -> None:
        """Replace the prediction for *account*, which has ended, by what it has used."""
        app_id, used = account.app_id, account.attained_service
        is_backlogged = used > 0 and self.reference.settle(app_id, used)
        self._date(account, now, is_backlogged=is_backlogged)
        if is_backlogged:
            self._settling[app_id] = None
        else:
            self._forget(app_id)

    def close(self, now: float) -> None:
        """Be done with whoever is settling: nobody is there whom the server could serve."""
        for app_id in list(self._settling):
            self._leave(app_id, now)

    def fair_finish_in(self, account: Account) -> float | None:
        """Return the service until *account*'s fair finish, None once that is past."""
        if account.fair_finished_iteration is not None or account.app_id not in self.reference:
            return None
        return self.reference.service_until_fair_finish(account.app_id)

    # -- inside --------------------------------------------------------------------------

    def _date(self, account: Account, now: float, *, is_backlogged: bool) -> None:
        """Date the fair finish of one that is in the reference no more; undate it otherwise."""
        if is_backlogged:
            account.fair_finished_at = account.fair_finished_iteration = None
        elif account.fair_finished_iteration is None:
            account.fair_finished_at = now
            account.fair_finished_iteration = self.iteration

    def _leave(self, app_id: str, now: float) -> None:
        account = self._accounts[app_id]
        if app_id in self._settling:
            self._forget(app_id)
        self._date(account, now, is_backlogged=False)

    def _forget(self, app_id: str) -> None:
        self._settling.pop(app_id, None)
        del self._accounts[app_id]
        self.reference.forget(app_id)
