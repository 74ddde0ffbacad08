"""
The waiting calls, grouped by application, in a policy's order.

Two heaps: each application keeps its own calls by their place in it, and one heap keeps the
applications by the key of their first call. Keys may change while calls wait. An entry of the
upper heap is a lower bound of its application's key: growth is found when the entry comes to the
top; a fall must be told (`refresh`). So an event costs O(log n) and a step that admits nothing
costs O(1), however many wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from justitia_sdk.errors import AccountingError

from .accounts import Account, Call
from .policies.base import Policy


class _Group:
    """The waiting calls of one application; removed ones stay in the heap until they surface."""

    __slots__ = ("calls", "entry_key", "num_waiting", "queue")

    def __init__(self, queue: CallQueue) -> None:
        self.queue = queue
        self.calls: list[tuple[tuple[int, ...], Call]] = []
        self.entry_key: tuple[float, ...] | None = None  # its valid entry in the upper heap
        self.num_waiting = 0

    def head(self) -> Call | None:
        """Return the first waiting call, dropping those that were removed."""
        while self.calls and self.calls[0][1].queue is not self.queue:
            heapq.heappop(self.calls)
        return self.calls[0][1] if self.calls else None


class CallQueue:
    """Waiting calls in the order of *policy*."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._groups: dict[str, _Group] = {}
        self._entries: list[tuple[tuple[float, ...], str]] = []
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._num_waiting

    def __iter__(self) -> Iterator[Call]:
        """Yield all waiting calls in order. Cost: O(n log n)."""
        waiting = [
            call for group in self._groups.values() for _, call in group.calls if call.queue is self
        ]
        return iter(sorted(waiting, key=self._policy.order))

    def add(self, call: Call) -> None:
        """
        Let *call* wait; one that came back (skipped, preempted) takes its old place.

        Raises:
            AccountingError: It waits already.
        """
        if call.queue is not None:
            raise AccountingError(f"call {call.request_id} waits already")
        group = self._groups.get(call.account.app_id)
        if group is None:
            group = self._groups[call.account.app_id] = _Group(self)
        call.queue = self
        call.account.num_waiting += 1
        heapq.heappush(group.calls, (self._policy.place(call), call))
        group.num_waiting += 1
        self._num_waiting += 1
        if group.head() is call:
            self._push(call.account.app_id, group, self._policy.order(call))

    def peek(self) -> Call:
        """
        Return the call to serve next, without removing it.

        Raises:
            IndexError: No call waits.
        """
        while True:
            key, app_id = self._entries[0]
            group = self._groups.get(app_id)
            if group is None or group.entry_key != key:
                heapq.heappop(self._entries)
                continue
            head = group.head()
            assert head is not None  # a group goes with its last waiting call
            current = self._policy.order(head)
            if current == key:
                return head
            heapq.heappop(self._entries)
            self._push(app_id, group, current)

    def pop(self) -> Call:
        """
        Remove and return the call to serve next.

        Raises:
            IndexError: No call waits.
        """
        call = self.peek()
        self.remove(call)
        return call

    def remove(self, call: Call) -> None:
        """Remove *call*; one that does not wait here is left alone."""
        if call.queue is not self:
            return
        call.queue = None
        call.account.num_waiting -= 1
        self._num_waiting -= 1
        group = self._groups[call.account.app_id]
        group.num_waiting -= 1
        if group.num_waiting == 0:
            del self._groups[call.account.app_id]  # its entry dies when it surfaces
            return
        group.head()  # a popped call must be gone for good: it may be added again
        if len(group.calls) > 2 * group.num_waiting + 16:
            group.calls = [entry for entry in group.calls if entry[1].queue is self]
            heapq.heapify(group.calls)

    def refresh(self, account: Account) -> None:
        """Take notice that the key of *account* may have fallen. Cost: O(log n)."""
        group = self._groups.get(account.app_id)
        if group is not None and (head := group.head()) is not None:
            self._push(account.app_id, group, self._policy.order(head))

    def _push(self, app_id: str, group: _Group, key: tuple[float, ...]) -> None:
        group.entry_key = key
        if len(self._entries) > 2 * len(self._groups) + 64:
            self._drop_superseded()
        heapq.heappush(self._entries, (key, app_id))

    def _drop_superseded(self) -> None:
        self._entries = [
            (group.entry_key, app_id)
            for app_id, group in self._groups.items()
            if group.entry_key is not None
        ]
        heapq.heapify(self._entries)
