"""
The fluid reference at one level: generalised processor sharing (GPS) and its virtual time.

A fluid server splits the service it is fed among the applications backlogged *in the reference*,
in proportion to their weights. With W the sum of those weights,

    dV = service / W                 virtual time, service per unit weight
    F  = S + C / w                   virtual finish of an application, S = V at its arrival

and an application leaves when V reaches F. Later arrivals change how fast V grows, never the
order of the F, so one sorted list holds the whole reference and an event costs O(log n).

What an application is to be given, C, may change while it is here or after it has left. One rule
covers all of it: an application is backlogged exactly while it was given less than its C. So
- one that is given more than a corrected C leaves at once, and the excess is not given back;
- one that has left and turns out to cost more comes back for the difference, and S moves on by the
  time it was out, as if it had just arrived with what is missing;
- one that pauses (`pause`) is given what it has really received and no more, leaves, and comes back
  on `resume` in the same way: the time it was out neither earns nor costs it anything.

When nobody is backlogged V stands still and the next arrival starts there. What feeds the clock is
the caller's choice (`feed`). Any number type serves: float in the server, `fractions.Fraction` in
proofs.

References: Parekh and Gallager, IEEE/ACM ToN 1(3), 1993; Justitia, arXiv:2510.17015, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from justitia_sdk.errors import AccountingError

from .finish_index import Entry, FinishIndex


@dataclass(slots=True)
class _Customer:
    """One application in the reference."""

    weight: float
    cost: float  # C
    limit: float  # to be given for now: C, or what it really received while it pauses
    virtual_start: float  # S; what it was given so far is (V - S) * w
    arrival_seq: int
    given: float = 0  # service it was given, kept while it is not backlogged
    is_paused: bool = False
    entry: Entry | None = None  # (F, arrival number, w) in the index while it is backlogged


class VirtualClock:
    """A reference server's virtual time V and who is backlogged in it."""

    def __init__(self) -> None:
        self.virtual_time: float = 0
        self.total_weight: float = 0  # of those backlogged
        self._customers: dict[str, _Customer] = {}
        self._backlogged: dict[int, str] = {}  # by arrival number
        self._finishes = FinishIndex()
        self._num_arrivals = 0

    def __len__(self) -> int:
        """Return how many applications are backlogged in the reference."""
        return len(self._backlogged)

    def __contains__(self, app_id: str) -> bool:
        """Tell whether the reference still keeps *app_id*, backlogged or not."""
        return app_id in self._customers

    @property
    def num_known(self) -> int:
        """How many applications it keeps, backlogged or not."""
        return len(self._customers)

    def is_backlogged(self, app_id: str) -> bool:
        """
        Tell whether *app_id* still has something to be given.

        Raises:
            AccountingError: *app_id* is unknown.
        """
        return self._customer(app_id).entry is not None

    # -- events --------------------------------------------------------------------------

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
        check_positive("weight", weight)
        check_positive("cost", cost)
        if app_id in self._customers:
            raise AccountingError(f"application {app_id} has arrived before")
        self._num_arrivals += 1
        customer = _Customer(weight, cost, cost, self.virtual_time, self._num_arrivals)
        self._customers[app_id] = customer
        return self._enter(app_id, customer)

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
        check_service(service)
        left: list[str] = []
        while self._backlogged:
            needed = self.service_until_departure()
            if service < needed:
                self.virtual_time += service / self.total_weight
                break
            service -= needed
            left += self.depart()
        return left

    def depart(self) -> list[str]:
        """
        Let V reach the next virtual finish; return who leaves there.

        Raises:
            IndexError: Nobody is backlogged.
        """
        finish = self.virtual_time = self._finishes.first()[0]
        left: list[str] = []
        while self._backlogged and (first := self._finishes.first())[0] == finish:
            app_id = self._backlogged[first[1]]
            customer = self._customers[app_id]
            self._leave(customer, given=customer.limit)
            left.append(app_id)
        return left

    def creep(self, service: float) -> None:
        """
        Give *service* that makes nobody leave.

        Rounding may carry V a hair past the next virtual finish; it stops there.
        """
        if self._backlogged:
            grown = self.virtual_time + service / self.total_weight
            self.virtual_time = min(grown, self._finishes.first()[0])

    def correct(self, app_id: str, cost: float) -> bool:
        """
        Replace an application's cost by *cost* and return whether it is backlogged now.

        Raises:
            AccountingError: *cost* makes no sense, or *app_id* is unknown.

        Changes: the set of backlogged applications. Cost: O(log n).
        """
        check_positive("cost", cost)
        customer = self._customer(app_id)
        customer.cost = cost
        if not customer.is_paused:
            self._limit(app_id, customer, cost)
        return customer.entry is not None

    def settle(self, app_id: str, cost: float) -> bool:
        """
        As `correct`, of one that has ended: paused or not, *cost* is what it is to be given.

        Raises:
            AccountingError: *cost* makes no sense, or *app_id* is unknown.
        """
        check_positive("cost", cost)
        customer = self._customer(app_id)
        customer.cost = cost
        customer.is_paused = False
        self._limit(app_id, customer, cost)
        return customer.entry is not None

    def pause(self, app_id: str, received: float) -> bool:
        """
        Give an application *received* and no more, until it resumes.

        Args:
            app_id: Who waits for something else than the server.
            received: KV token-time it has really received so far, not negative.

        Returns:
            Whether it is still backlogged: the reference has not given it so much yet.

        Raises:
            AccountingError: *received* makes no sense, or *app_id* is unknown.

        Changes: the set of backlogged applications. Cost: O(log n).
        """
        check_service(received)
        customer = self._customer(app_id)
        customer.is_paused = True
        self._limit(app_id, customer, received)
        return customer.entry is not None

    def resume(self, app_id: str) -> float:
        """
        Let a paused application go on; return by how much its S has moved.

        That is the growth of V while it was out of the reference, and 0 for one that has not left
        it or that has been given all its cost.

        Raises:
            AccountingError: *app_id* is unknown.

        Changes: the set of backlogged applications. Cost: O(log n).
        """
        customer = self._customer(app_id)
        before = customer.virtual_start
        customer.is_paused = False
        self._limit(app_id, customer, customer.cost)
        return customer.virtual_start - before

    def forget(self, app_id: str) -> None:
        """
        Drop an application from the reference, backlogged or not.

        Raises:
            AccountingError: *app_id* is unknown.
        """
        customer = self._customer(app_id)
        if customer.entry is not None:
            self._leave(customer, given=0)
        del self._customers[app_id]

    # -- questions -----------------------------------------------------------------------

    def virtual_finish(self, app_id: str) -> float:
        """
        Return F of *app_id*, V at which it leaves; of one that has left, where it would have been.

        Raises:
            AccountingError: *app_id* is unknown.
        """
        customer = self._customer(app_id)
        return customer.virtual_start + customer.limit / customer.weight

    def virtual_start(self, app_id: str) -> float:
        """
        Return S of *app_id*, moved on by the time it was out.

        Raises:
            AccountingError: *app_id* is unknown.
        """
        return self._customer(app_id).virtual_start

    def service_until_departure(self) -> float:
        """Return how much service the next one to leave still needs; infinite if none is there."""
        if not self._backlogged:
            return math.inf
        return (self._finishes.first()[0] - self.virtual_time) * self.total_weight

    def service_until(self, finish: float) -> float:
        """
        Return R(F): the service until V reaches *finish*, if nobody else arrives.

        The sum of w_i * (min(F, F_i) - V); what is backlogged ends there, so for a *finish* past
        the last F_i it is all the work there is. 0 for one that V has passed. Cost: O(log n).
        """
        if finish <= self.virtual_time:
            return 0
        work = self._finishes.capped_work(finish)
        return max(work - self.virtual_time * self.total_weight, 0)  # rounding may fall below

    # -- inside --------------------------------------------------------------------------

    def _customer(self, app_id: str) -> _Customer:
        try:
            return self._customers[app_id]
        except KeyError:
            raise AccountingError(f"application {app_id} is not in the reference") from None

    def _limit(self, app_id: str, customer: _Customer, limit: float) -> None:
        """Give *customer* service up to *limit* in all: enter, move or leave accordingly."""
        customer.limit = limit
        if customer.entry is None:
            if limit > customer.given:
                customer.virtual_start = self.virtual_time - customer.given / customer.weight
                self._enter(app_id, customer)
            return
        if customer.virtual_start + limit / customer.weight <= self.virtual_time:
            given = (self.virtual_time - customer.virtual_start) * customer.weight
            self._leave(customer, given=given)
            return
        self._finishes.remove(customer.entry)
        self._index(customer)

    def _enter(self, app_id: str, customer: _Customer) -> float:
        self._backlogged[customer.arrival_seq] = app_id
        self.total_weight += customer.weight
        return self._index(customer)

    def _index(self, customer: _Customer) -> float:
        finish = customer.virtual_start + customer.limit / customer.weight
        customer.entry = (finish, customer.arrival_seq, customer.weight)
        self._finishes.add(customer.entry)
        return finish

    def _leave(self, customer: _Customer, *, given: float) -> None:
        assert customer.entry is not None
        self._finishes.remove(customer.entry)
        del self._backlogged[customer.arrival_seq]
        customer.entry = None
        customer.given = given
        # Summing and subtracting floats drifts; an empty reference is the moment to forget it.
        self.total_weight = self.total_weight - customer.weight if self._backlogged else 0


def check_service(service: float) -> None:
    """
    Raise unless *service* is finite and not negative.

    Raises:
        AccountingError: It is not.
    """
    if not service >= 0 or math.isinf(service):
        raise AccountingError(f"service must be finite and not negative, not {service!r}")


def check_positive(field: str, value: float) -> None:
    """
    Raise unless *value* is finite and above 0.

    Raises:
        AccountingError: It is not; the message names *field*.
    """
    if not value > 0 or math.isinf(value):
        raise AccountingError(f"{field} must be finite and above 0, not {value!r}")
