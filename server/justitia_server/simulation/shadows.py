"""
The shadow references: what fair sharing would have done, known with hindsight.

Each knows every application's true cost at its arrival and is fed, iteration by iteration, either
with the service the engine really delivered or with the capacity M. They are kept the same way
under every policy, in plain KV token-time (p + i for output token i, nothing deducted for sharing),
so that lateness can be compared between policies. Fair sharing is among all applications by weight;
with tenants, among tenants and then among each one's applications.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..fairness.reference import Reference


@dataclass(frozen=True, slots=True)
class FairFinish:
    """When a reference was done with an application."""

    at_s: float
    iteration: int


@dataclass(slots=True)
class Shadow:
    """One reference, and when it finished whom."""

    reference: Reference = field(default_factory=Reference)
    fair_finishes: dict[str, FairFinish] = field(default_factory=dict)
    _present: dict[str, None] = field(default_factory=dict)

    def arrive(self, app_id: str, tenant: str, cost: float, weight: float) -> None:
        """Take an application in."""
        self.reference.arrive(app_id, tenant, cost, weight=weight)
        self._present[app_id] = None

    def feed(self, service: float, now: float, iteration: int) -> None:
        """Give it *service* at the end of an iteration."""
        for app_id in self.reference.advance(service):
            self._leave(app_id, now, iteration)

    def close(self, now: float, iteration: int) -> None:
        """Be done with whoever is left: the server is empty. Only rounding keeps anyone."""
        for app_id in list(self._present):
            self._leave(app_id, now, iteration)

    def _leave(self, app_id: str, now: float, iteration: int) -> None:
        self.fair_finishes[app_id] = FairFinish(now, iteration)
        self.reference.forget(app_id)
        del self._present[app_id]
