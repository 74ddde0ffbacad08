"""
The fluid reference: generalised processor sharing (GPS) and its virtual time.

A fluid server splits the service it is fed among the applications backlogged *in the reference*,
in proportion to their weights. With W the sum of those weights,

    dV = service / W                 virtual time, service per unit weight
    F  = S + C / w                   virtual finish of an application, S = V at its arrival

and an application leaves when V reaches F. Later arrivals change how fast V grows, never the
order of the F, so one heap holds the whole reference and an event costs O(log n).

What feeds the clock is the caller's choice: service delivered by the engine (then the reference
and the server are busy at the same times) or nominal capacity (the paper). When nobody is
backlogged V stands still and the next arrival starts there.

Any number type serves: float in the server, `fractions.Fraction` in proofs.

References: Parekh and Gallager, IEEE/ACM ToN 1(3), 1993; Justitia, arXiv:2510.17015, section 3.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from justitia_sdk.errors import AccountingError


@dataclass(slots=True)
class _Customer:
    """One application in the reference; `virtual_finish` is S + C / w."""

    weight: float
    virtual_start: float
    virtual_finish: float
    arrival_seq: int
    is_backlogged: bool = True


class VirtualClock:
    """The reference server's virtual time V and who is backlogged in it."""

    def __init__(self) -> None:
        self.virtual_time: float = 0
        self._customers: dict[str, _Customer] = {}
        self._finishes: list[tuple[float, int, str]] = []  # superseded entries stay until popped
        self._num_arrivals = 0
        self._num_backlogged = 0
        self._total_weight: float = 0

    def __len__(self) -> int:
        """Return how many applications are backlogged in the reference."""
        return self._num_backlogged

    def __contains__(self, app_id: str) -> bool:
        """Tell whether the reference still keeps *app_id*, backlogged or not."""
        return app_id in self._customers

    def arrive(self, app_id: str, cost: float, *, weight: float = 1) -> float:
        """
        Add an application and return its virtual finish F = V + C / w.

        Args:
            app_id: Its id, not in the reference yet.
            cost: C, its predicted cost in KV token-time, above 0.
            weight: w, above 0.

        Raises:
            AccountingError: A cost or weight that makes no sense, or a known *app_id*.

        Changes: the set of backlogged applications. Cost: O(log n).
        """
        _check_positive("weight", weight)
        _check_positive("cost", cost)
        if app_id in self._customers:
            raise AccountingError(f"application {app_id} has arrived before")
        self._num_arrivals += 1
        start = self.virtual_time
        customer = _Customer(weight, start, start + cost / weight, self._num_arrivals)
        self._customers[app_id] = customer
        self._enter(app_id, customer)
        return customer.virtual_finish

    def advance(self, service: float) -> list[str]:
        """
        Give *service* to the reference and return who left on the way, in order.

        Within one set of backlogged applications V grows by service / W; with none
        backlogged it stands still and the rest of the service is nobody's.

        Args:
            service: KV token-time since the previous call; not negative.

        Raises:
            AccountingError: *service* is negative or not finite.

        Changes: V and the set of backlogged applications. Cost: O(leavers x log n).
        """
        if not service >= 0 or math.isinf(service):
            raise AccountingError(f"service must be finite and not negative, not {service!r}")
        left: list[str] = []
        while self._num_backlogged:
            app_id, customer = self._first_to_finish()
            needed = (customer.virtual_finish - self.virtual_time) * self._total_weight
            if service < needed:
                self.virtual_time += service / self._total_weight
                break
            service -= needed
            self.virtual_time = customer.virtual_finish
            self._leave(customer)
            left.append(app_id)
        return left

    def service_until_departure(self) -> float:
        """Return how much service the next one to leave still needs; infinite if none is there."""
        if not self._num_backlogged:
            return math.inf
        _, customer = self._first_to_finish()
        return (customer.virtual_finish - self.virtual_time) * self._total_weight

    def correct(self, app_id: str, cost: float) -> bool:
        """
        Replace an application's cost by *cost* and return whether it is backlogged now.

        Still backlogged: F becomes S + C / w, and where V has passed that already the
        application leaves at once; what the reference gave it too much is not given back.
        Left already: it comes back for what the new cost exceeds what it was given.

        Raises:
            AccountingError: *cost* makes no sense, or *app_id* is unknown.

        Changes: the set of backlogged applications. Cost: O(log n).
        """
        _check_positive("cost", cost)
        customer = self._customer(app_id)
        finish = customer.virtual_start + cost / customer.weight
        if not customer.is_backlogged:
            missed = finish - customer.virtual_finish
            if missed <= 0:
                return False
            customer.virtual_finish = self.virtual_time + missed
            customer.virtual_start = customer.virtual_finish - cost / customer.weight
            self._enter(app_id, customer)
            return True
        customer.virtual_finish = finish
        if finish <= self.virtual_time:
            self._leave(customer)
            return False
        self._push_finish(app_id, customer)
        return True

    def forget(self, app_id: str) -> None:
        """
        Drop an application from the reference, backlogged or not.

        Raises:
            AccountingError: *app_id* is unknown.
        """
        customer = self._customer(app_id)
        if customer.is_backlogged:
            self._leave(customer)
        del self._customers[app_id]

    def _customer(self, app_id: str) -> _Customer:
        try:
            return self._customers[app_id]
        except KeyError:
            raise AccountingError(f"application {app_id} is not in the reference") from None

    def _enter(self, app_id: str, customer: _Customer) -> None:
        customer.is_backlogged = True
        self._num_backlogged += 1
        self._total_weight += customer.weight
        self._push_finish(app_id, customer)

    def _push_finish(self, app_id: str, customer: _Customer) -> None:
        if len(self._finishes) > 2 * self._num_backlogged + 64:
            current = [entry for entry in self._finishes if self._is_current(entry[0], entry[2])]
            heapq.heapify(current)
            self._finishes = current
        heapq.heappush(self._finishes, (customer.virtual_finish, customer.arrival_seq, app_id))

    def _leave(self, customer: _Customer) -> None:
        customer.is_backlogged = False
        self._num_backlogged -= 1
        # Summing and subtracting floats drifts; an empty reference is the moment to forget it.
        self._total_weight = self._total_weight - customer.weight if self._num_backlogged else 0

    def _first_to_finish(self) -> tuple[str, _Customer]:
        while True:
            finish, _, app_id = self._finishes[0]
            if self._is_current(finish, app_id):
                return app_id, self._customers[app_id]
            heapq.heappop(self._finishes)

    def _is_current(self, finish: float, app_id: str) -> bool:
        customer = self._customers.get(app_id)
        return customer is not None and customer.is_backlogged and customer.virtual_finish == finish


def _check_positive(field: str, value: float) -> None:
    if not value > 0 or math.isinf(value):
        raise AccountingError(f"{field} must be finite and above 0, not {value!r}")
