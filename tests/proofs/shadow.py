"""
The shadow reference: what fair sharing would have done, known with hindsight.

It is fed the service that the engine really delivered, counted here from the engine's output and
not from the scheduler's books, and knows every application's true cost at its arrival. Whatever
the scheduler is told, fair finishes and lateness are measured against this one.
"""

from __future__ import annotations

from collections.abc import Mapping

from justitia_server.fairness.reference import Reference

ROUNDING = 1e-3  # KV token-time; costs are 1,000 and more


class Shadow:
    """A fluid reference with true costs over delivered service, and who left it when."""

    def __init__(self, tenant_weights: Mapping[str, float]) -> None:
        self.reference = Reference(tenant_weights)
        self.fair_finishes: dict[str, int] = {}  # iteration, by application
        self.owed: list[str] = []  # still had something to be given when the server was empty
        self._held: dict[str, int] = {}  # KV tokens with which each call's next token is charged
        self._present: dict[str, None] = {}

    def arrive(self, app_id: str, tenant: str, cost: float, weight: float) -> None:
        """Take an application in."""
        self.reference.arrive(app_id, tenant, cost, weight=weight)
        self._present[app_id] = None

    def expect(self, request_id: str, num_prompt_tokens: int) -> None:
        """Take notice of a call; its i-th output token will be charged p + i."""
        self._held[request_id] = num_prompt_tokens + 1

    def charge(self, delivered: Mapping[str, int]) -> int:
        """Return the service of the output tokens *delivered*, by request."""
        held, service = self._held, 0
        for request_id, num_tokens in delivered.items():
            for _ in range(num_tokens):
                service += held[request_id]
                held[request_id] += 1
        return service

    def advance(self, service: float, iteration: int) -> list[str]:
        """Give the reference *service*; date and return those who leave it."""
        left = self.reference.advance(service)
        for app_id in left:
            self._leave(app_id, iteration)
        return left

    def end(self, iteration: int) -> list[str]:
        """
        The server is empty: date and return whoever is left.

        With true costs nobody is, but for rounding; others are noted in `owed`.
        """
        left = list(self._present)
        for app_id in left:
            if self.reference.service_until_fair_finish(app_id) > ROUNDING:
                self.owed.append(app_id)
            self._leave(app_id, iteration)
        return left

    def _leave(self, app_id: str, iteration: int) -> None:
        self.fair_finishes[app_id] = iteration
        self.reference.forget(app_id)
        del self._present[app_id]
