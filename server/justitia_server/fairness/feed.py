"""
What feeds the reference's clock: the service delivered, or the capacity the server is said to have.

Delivered (the default): the reference gets what the engine gave in each iteration, so its busy
periods are the server's, and V means something when memory is not what limits.
Nominal (the paper): the reference gets the capacity M every iteration, whatever was delivered.
"""

from __future__ import annotations

from typing import Protocol


class Feed(Protocol):
    """Collects service between two looks at the reference."""

    name: str
    pending: float  # service charged since the last look; whoever charges adds it
    num_iterations: int  # of the engine since then; whoever ends one counts it

    def most(self, unread: float) -> float:
        """Return the most `take` could give if *unread* were charged now."""

    def room(self, service: float) -> float:
        """Return what may be charged before `take` could give *service*; 0 if time alone will."""

    def take(self) -> float:
        """Return the service to feed now, and begin anew."""


class DeliveredFeed:
    """Feed what was charged."""

    name = "delivered"

    def __init__(self) -> None:
        self.pending: float = 0
        self.num_iterations = 0

    def most(self, unread: float) -> float:
        """Return what was charged and *unread*."""
        return self.pending + unread

    def room(self, service: float) -> float:
        """Return *service* less what was charged."""
        return service - self.pending

    def take(self) -> float:
        """Return what was charged."""
        service, self.pending, self.num_iterations = self.pending, 0, 0
        return service


class NominalFeed:
    """Feed M an iteration."""

    name = "nominal"

    def __init__(self, capacity: int) -> None:
        self.pending: float = 0
        self.num_iterations = 0
        self._capacity = capacity

    def most(self, unread: float) -> float:
        """Return M for each iteration, and for the one under way."""
        return (self.num_iterations + 1) * self._capacity

    def room(self, service: float) -> float:
        """Return 0: it will be given whatever is charged."""
        return 0

    def take(self) -> float:
        """Return M for each iteration."""
        service = self.num_iterations * self._capacity
        self.num_iterations = 0
        self.pending = 0
        return service
