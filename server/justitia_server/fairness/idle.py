"""Applications between calls: at a tool, or at a person."""

from __future__ import annotations

import math
from collections import OrderedDict

from .accounts import Account


class IdleList:
    """
    Who is idle, since when, and what comes of it.

    The rule. For a grace period an idle application is treated as if it went on: most gaps between
    calls are that short. After it, the reference goes on serving the application only until it
    has given what the application has really received, and then lets it go. When the application
    calls again it comes back, and its tag moves on by the growth of V while it was out.

    The reason. Waiting must neither earn nor cost. If the reference went on to the whole cost, an
    application would come back with an old tag and go before everyone who had stayed: waiting
    would earn credit. If it were dropped at once, it would lose the service the reference still
    owes it for what it has really received: waiting would cost. And while it is in the
    reference without being able to use the server, everybody else's fair finish would be later
    than it need be.

    After a longer idle timeout the application is ended for it: its client is gone. A sign of life
    that is no call, such as a tool's, renews the timeout and not the grace. While a tool is at work
    whose duration was told, the timeout begins only when that has passed (a day at most): a tool
    that takes an hour, as it said, is no sign of a client that is gone, and one that takes a little
    longer than was thought is none either.
    """

    def __init__(self, *, grace_s: float, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._grace_s = grace_s
        self._idle: OrderedDict[str, Account] = OrderedDict()  # least recently active first
        self._at_tools: dict[str, Account] = {}  # idle too, whose timeout is still to begin
        self._in_grace: OrderedDict[str, Account] = OrderedDict()  # whose last call ended first
        self.next_grace_end_at = math.inf

    def __contains__(self, app_id: str) -> bool:
        return app_id in self._idle or app_id in self._at_tools

    def add(self, account: Account, *, has_grace: bool = True) -> None:
        """Let *account*, active until now, be idle; with grace if a call of it has just ended."""
        self.discard(account)
        self._place(account)
        if has_grace:
            self._in_grace[account.app_id] = account
            if len(self._in_grace) == 1:
                self._note_next()

    def touch(self, account: Account) -> None:
        """Begin *account*'s timeout anew, if it is here; its grace runs on. Cost: O(1)."""
        if self._take_out(account.app_id):
            self._place(account)

    def discard(self, account: Account) -> None:
        """Take *account* out, if it is here. Cost: O(1)."""
        app_id = account.app_id
        if self._take_out(app_id) and self._in_grace.pop(app_id, None) is not None:
            self._note_next()

    def past_grace(self, now: float) -> list[Account]:
        """Return those whose grace has ended, each once."""
        past: list[Account] = []
        while self.next_grace_end_at <= now:
            past.append(self._in_grace.popitem(last=False)[1])
            self._note_next()
        return past

    def past_timeout(self, now: float) -> list[Account]:
        """
        Return those idle for longer than the timeout; they stay until discarded.

        Cost: O(they + those at tools that told how long they take).
        """
        past = [
            account
            for account in self._at_tools.values()
            if now - account.tools.expected_until_at >= self.timeout_s
        ]
        for account in self._idle.values():
            if now - account.last_active_at < self.timeout_s:
                break
            past.append(account)
        return past

    def _place(self, account: Account) -> None:
        is_expected = account.tools.expected_until_at > account.last_active_at
        (self._at_tools if is_expected else self._idle)[account.app_id] = account

    def _take_out(self, app_id: str) -> bool:
        """Take *app_id* out of whichever it is in; tell whether it was here."""
        taken = self._idle.pop(app_id, None) or self._at_tools.pop(app_id, None)
        return taken is not None

    def _note_next(self) -> None:
        oldest = next(iter(self._in_grace.values()), None)
        self.next_grace_end_at = (
            math.inf if oldest is None else oldest.last_call_ended_at + self._grace_s
        )
