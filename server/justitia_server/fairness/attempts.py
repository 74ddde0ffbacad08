"""Calls tried again: each counts as done once, by its latest attempt."""

from __future__ import annotations

from collections import OrderedDict

from .accounts import Account, CallFacts

NUM_KEPT = 4096  # of all applications, the latest


class Attempts:
    """
    The latest attempts at calls that have an id.

    Who never heard the answer tries again, though the server may have given it: an attempt makes
    those before it undone. What every attempt was given stays charged.
    """

    def __init__(self, *, most: int = NUM_KEPT) -> None:
        """Begin with none; those at *most* calls are kept."""
        self._most = most
        # By arrival of the application and id of the call: attempt, and samples of it completed.
        self._latest: OrderedDict[tuple[int, str], tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._latest)

    def begin(self, account: Account, facts: CallFacts) -> int:
        """Take notice of an attempt; return how many completed samples it makes undone."""
        if facts.call_id is None:
            return 0
        key = (account.arrival_seq, facts.call_id)
        known = self._latest.get(key)
        if not facts.attempt:
            if known is not None:  # another call of the same name: some name all alike
                self._keep(key, 0, 0)
            return 0
        attempt, num_done = known or (0, 0)
        if facts.attempt <= attempt:
            return 0
        self._keep(key, facts.attempt, 0)
        return num_done

    def complete(self, account: Account, facts: CallFacts) -> bool:
        """Take notice that an attempt, or a sample of it, has completed; tell whether it counts."""
        if facts.call_id is None:
            return True
        key = (account.arrival_seq, facts.call_id)
        attempt, num_done = self._latest.get(key, (facts.attempt, 0))
        if facts.attempt < attempt:
            return False
        self._keep(key, attempt, num_done + 1)
        return True

    def _keep(self, key: tuple[int, str], attempt: int, num_done: int) -> None:
        self._latest[key] = (attempt, num_done)
        self._latest.move_to_end(key)
        if len(self._latest) > self._most:
            self._latest.popitem(last=False)
