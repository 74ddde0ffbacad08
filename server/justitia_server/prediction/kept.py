"""Things kept by key, a bounded number of them: the coldest is given up first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Values by key, each made when it is first asked for."""

    def __init__(
        self,
        make: Callable[[], Value],
        *,
        most: int,
        give_up: Callable[[Key, Value], None] = lambda key, value: None,
    ) -> None:
        """
        Keep nothing yet.

        Args:
            make: Makes the value of a new key.
            most: Keys kept.
            give_up: Told of each that is dropped.
        """
        self._make = make
        self._most = most
        self._give_up = give_up
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def find(self, key: Key) -> Value | None:
        """Return the value of *key*, if it is kept; it becomes no warmer."""
        return self._values.get(key)

    def recall(self, key: Key) -> Value:
        """Return the value of *key*, made if need be, as the last to be given up."""
        value = self._values.pop(key) if key in self._values else self._make()
        self._values[key] = value
        if len(self._values) > self._most:
            self._give_up(*self._values.popitem(last=False))
        return value
