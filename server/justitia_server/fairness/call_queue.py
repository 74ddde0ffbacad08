"""
The waiting calls, as a tree of groups, in a policy's order.

Each innermost group keeps its own calls by their place in it; every other keeps its groups by the
key of their first call. Keys may change while calls wait. An entry is a lower bound of its group's
key: growth is found when the entry comes to the top; a fall must be told (`refresh`). A key is
computed only when two groups must be compared. So an event costs O(log n), and a step that admits
nothing costs O(1), however many wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from justitia_sdk.errors import AccountingError

from .accounts import Account, Call
from .policies.base import Key, Policy


class _Calls:
    """The waiting calls of an innermost group; removed ones stay in the heap until they surface."""

    __slots__ = ("entries", "num_waiting", "policy", "queue")

    def __init__(self, queue: CallQueue, policy: Policy) -> None:
        self.queue = queue
        self.policy = policy
        self.entries: list[tuple[Key, Call]] = []
        self.num_waiting = 0

    def add(self, call: Call, groups: tuple[str, ...]) -> None:
        heapq.heappush(self.entries, (self.policy.key(call, len(groups)), call))
        self.num_waiting += 1

    def remove(self, groups: tuple[str, ...]) -> None:
        """Take notice that a call waits here no more."""
        self.num_waiting -= 1
        if not self.num_waiting:
            self.entries.clear()
            return
        self.head()
        if len(self.entries) > 2 * self.num_waiting + 16:
            # A call that went and came back may be here several times.
            waiting = {entry[1]: entry for entry in self.entries if entry[1].queue is self.queue}
            self.entries = list(waiting.values())
            heapq.heapify(self.entries)

    def head(self) -> Call | None:
        """Return the first waiting call, dropping those that were removed."""
        while self.entries and self.entries[0][1].queue is not self.queue:
            heapq.heappop(self.entries)
        return self.entries[0][1] if self.entries else None

    def refresh(self, groups: tuple[str, ...]) -> None:
        """Do nothing: a call's place never changes."""

    def __iter__(self) -> Iterator[Call]:
        waiting = {call: key for key, call in self.entries if call.queue is self.queue}
        return iter(sorted(waiting, key=waiting.__getitem__))


class _Groups:
    """Groups at one depth of the tree, each with a call that waits."""

    __slots__ = ("changed", "depth", "entries", "groups", "keys", "num_waiting", "policy", "queue")

    def __init__(self, queue: CallQueue, policy: Policy, depth: int) -> None:
        self.queue = queue
        self.policy = policy
        self.depth = depth
        self.num_waiting = 0
        self.groups: dict[str, _Groups | _Calls] = {}
        self.keys: dict[str, Key] = {}  # of each group's valid entry
        self.entries: list[tuple[Key, str]] = []
        self.changed: dict[str, None] = {}  # groups whose key may have fallen below their entry

    def add(self, call: Call, groups: tuple[str, ...]) -> None:
        name = groups[self.depth]
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = _make(self.queue, self.policy, self.depth + 1, groups)
        group.add(call, groups)
        self.num_waiting += 1
        self.changed[name] = None

    def remove(self, groups: tuple[str, ...]) -> None:
        name = groups[self.depth]
        group = self.groups[name]
        group.remove(groups)
        self.num_waiting -= 1
        if group.num_waiting:
            self.changed[name] = None
        else:
            del self.groups[name]  # its entry dies when it surfaces
            self.keys.pop(name, None)
            self.changed.pop(name, None)

    def refresh(self, groups: tuple[str, ...]) -> None:
        """Take notice that the keys of these groups may have fallen. Cost: O(1)."""
        name = groups[self.depth]
        if (group := self.groups.get(name)) is not None:
            self.changed[name] = None
            group.refresh(groups)

    def head(self) -> Call | None:
        """Return the first waiting call."""
        if len(self.groups) == 1:
            (only,) = self.groups.values()
            return only.head()
        for name in self.changed:
            self._enter(name)
        self.changed.clear()
        while self.entries:
            key, name = self.entries[0]
            if self.keys.get(name) != key:
                heapq.heappop(self.entries)
                continue
            head = self.groups[name].head()
            assert head is not None  # a group goes with its last waiting call
            if self.policy.key(head, self.depth) == key:
                return head
            heapq.heappop(self.entries)
            self._enter(name)
        return None

    def __iter__(self) -> Iterator[Call]:
        def key(group: _Groups | _Calls) -> Key:
            head = group.head()
            assert head is not None
            return self.policy.key(head, self.depth)

        return (call for group in sorted(self.groups.values(), key=key) for call in group)

    def _enter(self, name: str) -> None:
        head = self.groups[name].head()
        assert head is not None
        key = self.policy.key(head, self.depth)
        if self.keys.get(name) == key:
            return
        self.keys[name] = key
        if len(self.entries) > 2 * len(self.groups) + 64:
            self.entries = [(key, name) for name, key in self.keys.items()]
            heapq.heapify(self.entries)
        else:
            heapq.heappush(self.entries, (key, name))


def _make(
    queue: CallQueue, policy: Policy, depth: int, groups: tuple[str, ...]
) -> _Groups | _Calls:
    return _Groups(queue, policy, depth) if depth < len(groups) else _Calls(queue, policy)


class CallQueue:
    """Waiting calls in the order of *policy*."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._root: _Groups | _Calls | None = None  # its kind is known with the first call
        self._alone: Call | None = None  # the one call that waits, if it is not in the tree
        self.num_waiting = 0

    def __len__(self) -> int:
        return self.num_waiting

    def __iter__(self) -> Iterator[Call]:
        """Yield all waiting calls, group by group in order. Cost: O(n log n)."""
        if self._alone is not None:
            return iter((self._alone,))
        return iter(self._root if self._root is not None else ())

    def add(self, call: Call) -> None:
        """
        Let *call* wait; one that came back (skipped, preempted) takes its old place.

        Raises:
            AccountingError: It waits already.
        """
        if call.queue is not None:
            raise AccountingError(f"call {call.request_id} waits already")
        call.queue = self
        call.account.num_waiting += 1
        self.num_waiting += 1
        if self.num_waiting == 1:
            self._alone = call
            return
        if self._alone is not None:
            self._add_to_tree(self._alone)
            self._alone = None
        self._add_to_tree(call)

    def peek(self) -> Call:
        """
        Return the call to serve next, without removing it.

        Raises:
            IndexError: No call waits.
        """
        if self._alone is not None:
            return self._alone
        head = self._root.head() if self._root is not None else None
        if head is None:
            raise IndexError("no call waits")
        return head

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
        self.num_waiting -= 1
        if self._alone is not None:
            self._alone = None
            return
        assert self._root is not None
        self._root.remove(self._policy.groups(call.account))

    def refresh(self, account: Account) -> None:
        """Take notice that keys of *account*'s groups may have fallen. Cost: O(1)."""
        if self._root is not None:
            self._root.refresh(self._policy.groups(account))

    def _add_to_tree(self, call: Call) -> None:
        groups = self._policy.groups(call.account)
        if self._root is None:
            self._root = _make(self, self._policy, 0, groups)
        self._root.add(call, groups)
