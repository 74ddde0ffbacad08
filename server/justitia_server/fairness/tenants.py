"""
One tenant's part of the reference: its own clock, fed from the top one, and the tags in it.

The top clock V_0 gives a tenant of weight W the service W * dV_0, and the tenant's clock V_T shares
it among the applications backlogged there. Between two events in the tenant that is a straight
line, so nothing need be done until then: V_T is brought up to V_0 when somebody looks (`catch_up`).

An application is ordered by two tags. Within its tenant by F; among tenants by the top tag

    Phi = V_0 + R_T(F) / W           while V_T has not reached F
    Phi = V_0 when V_T reached F     afterwards: one that is late keeps it

with R_T(F) the service the tenant's part of the reference still has to give before V_T reaches F.
Phi is the instant on the top clock at which the tenant's share will have paid for the application
and all that goes before it. It stands while nothing happens in the tenant; an arrival there raises
it. A tenant in debt has served work that no tag had announced: its tags, those open and those to
come, are so much further on. Debt is on the top clock and is worked off as V_0 grows, at the
tenant's share; a tag opened meanwhile has what is left of it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .virtual_clock import VirtualClock

if TYPE_CHECKING:
    from .reference import Reference


@dataclass(slots=True, eq=False)
class Tag:
    """Where one application, or one call with a tag of its own, stands in the order."""

    tenant: Tenant
    virtual_start: float  # S
    weight: float
    cost: float  # what F was formed with
    virtual_finish: float  # F = S + cost / w
    seq: int
    debt_before: float = 0  # what its tenant had booked of debt that does not concern it
    reached_at: float | None = None  # V_0 when V_T reached F
    is_live: bool = True

    @property
    def debt(self) -> float:
        """How much later it is, on the top clock, than its tenant's share says."""
        return max(0, self.tenant.debt_booked - self.debt_before)

    @property
    def top_finish(self) -> float:
        """Phi, for comparing with other tenants' tags. Cost: O(log n) where V_T is below F."""
        return self.tenant.top_finish(self)


_Entry = tuple[float, int, Tag]  # (F, a number that breaks ties, the tag)


@dataclass(slots=True, eq=False)
class Tenant:
    """A tenant's clock, its place on the top clock, and the tags V_T has not reached."""

    name: str
    weight: float  # W
    reference: Reference = field(repr=False)
    clock: VirtualClock = field(default_factory=VirtualClock)
    caught_up_to: float = 0  # V_0 that V_T belongs to
    next_departure: float | None = None  # V_0 of it; its valid entry in the top heap
    debt_until: float = 0  # V_0 from which on it owes nothing
    debt_booked: float = 0  # by which its debt was raised in all, less what was paid back
    num_tags: int = 0
    _ahead: list[_Entry] = field(default_factory=list, repr=False)  # a heap
    _late: list[_Entry] = field(default_factory=list, repr=False)  # sorted; dead ones linger
    _num_awaited: int = field(default=0, repr=False)

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing of it is left: no application, no tag, no debt."""
        owes = self.debt_until > self.reference.virtual_time
        return not (self.clock.num_known or self.num_tags or owes)

    # -- the clock -----------------------------------------------------------------------

    def catch_up(self) -> None:
        """Bring V_T up to V_0; nobody leaves on the way."""
        now = self.reference.virtual_time
        if now > self.caught_up_to:
            before = self.clock.virtual_time
            self.clock.creep(self.weight * (now - self.caught_up_to))
            self._pass_tags(before)
            self.caught_up_to = now

    def depart(self) -> list[str]:
        """Let V_T reach its next virtual finish, at V_0 as it stands; return who leaves there."""
        before, rate = self.clock.virtual_time, self._virtual_times_per_top()
        left = self.clock.depart()
        self._pass_tags(before, rate)
        self.caught_up_to = self.reference.virtual_time
        return left

    def departure_due(self) -> float | None:
        """Return V_0 at the next departure if nothing else happens; V_T is caught up."""
        if not len(self.clock):
            return None
        return self.caught_up_to + self.clock.service_until_departure() / self.weight

    def _virtual_times_per_top(self) -> float:
        """Return dV_T / dV_0."""
        return self.weight / self.clock.total_weight if len(self.clock) else 0

    # -- tags ----------------------------------------------------------------------------

    def open_tag(self, cost: float, weight: float, *, virtual_start: float, seq: int) -> Tag:
        """Return a tag with F = S + *cost* / *weight*; V_T is caught up."""
        finish = virtual_start + cost / weight
        if not self.num_tags:
            self.debt_booked = 0  # nobody to compare with: the moment to forget rounding
        debt_before = self.debt_booked - self.debt_left()
        tag = Tag(self, virtual_start, weight, cost, finish, seq, debt_before)
        self.num_tags += 1
        self._await(tag)
        return tag

    def move_tag(self, tag: Tag, *, cost: float, virtual_start: float | None = None) -> None:
        """Form F of *tag* anew, with another S where one is given; V_T is caught up."""
        if virtual_start is not None:
            tag.virtual_start = virtual_start
            # Some of it may have been worked off while it was out.
            tag.debt_before = self.debt_booked - min(tag.debt, self.debt_left())
        tag.cost = cost
        tag.virtual_finish = tag.virtual_start + cost / tag.weight
        self._await(tag)

    def close_tag(self, tag: Tag) -> None:
        """Forget *tag*."""
        tag.is_live = False
        self.num_tags -= 1

    def top_finish(self, tag: Tag) -> float:
        """Return Phi of *tag*, one of this tenant's."""
        self.catch_up()
        if tag.reached_at is not None:
            return tag.reached_at + tag.debt
        ahead = self.clock.service_until(tag.virtual_finish) / self.weight
        return self.reference.virtual_time + ahead + tag.debt

    # -- debt ----------------------------------------------------------------------------

    def add_debt(self, service: float) -> None:
        """Owe *service* that no tag had announced; negative: tags had announced too much."""
        before = self.debt_left()
        after = max(0, before + service / self.weight)  # paid too much, nothing is saved up
        self.debt_until = self.reference.virtual_time + after
        self.debt_booked += after - before

    def debt_left(self) -> float:
        """Return what it owes now, on the top clock."""
        return max(0, self.debt_until - self.reference.virtual_time)

    # -- inside --------------------------------------------------------------------------

    def _await(self, tag: Tag) -> None:
        if tag.virtual_finish <= self.clock.virtual_time:
            self._date_between_neighbours(tag)
            return
        tag.reached_at = None
        if len(self._ahead) > 2 * self.num_tags + 64:
            self._ahead = [entry for entry in self._ahead if _is_awaited(entry)]
            heapq.heapify(self._ahead)
        self._num_awaited += 1  # an application's scout may have its F and its number
        heapq.heappush(self._ahead, (tag.virtual_finish, self._num_awaited, tag))

    def _pass_tags(self, before: float, rate: float | None = None) -> None:
        """Date the tags that V_T has reached since it was *before*, growing at *rate*."""
        while self._ahead and self._ahead[0][0] <= self.clock.virtual_time:
            entry = heapq.heappop(self._ahead)
            if _is_awaited(entry):
                per_top = self._virtual_times_per_top() if rate is None else rate
                reached = self.caught_up_to + (entry[0] - before) / per_top
                entry[2].reached_at = min(reached, self.reference.virtual_time)
                self._remember_late(entry)

    def _remember_late(self, entry: _Entry) -> None:
        if len(self._late) > 2 * self.num_tags + 64:
            self._late = [each for each in self._late if _is_late(each)]
        insort(self._late, entry)

    def _date_between_neighbours(self, tag: Tag) -> None:
        """
        Date a tag moved to an F that V_T has passed: when that was is not remembered.

        It keeps its instant, or gets the present one, but for this: among late tags of one tenant
        the order of Phi is the order of F. Else cheaper would mean later.
        """
        self._num_awaited += 1
        entry = (tag.virtual_finish, self._num_awaited, tag)
        place = bisect_left(self._late, (tag.virtual_finish,))
        at = self.reference.virtual_time if tag.reached_at is None else tag.reached_at
        after = next((each[2] for each in self._late[place:] if _is_late(each, tag)), None)
        before = next((each[2] for each in self._late[:place][::-1] if _is_late(each, tag)), None)
        if before is not None and before.reached_at is not None:
            at = max(at, before.reached_at)
        if after is not None and after.reached_at is not None:
            at = min(at, after.reached_at)
        tag.reached_at = at
        self._remember_late(entry)


def _is_awaited(entry: _Entry) -> bool:
    finish, _, tag = entry
    return tag.is_live and tag.reached_at is None and tag.virtual_finish == finish


def _is_late(entry: _Entry, but_not: Tag | None = None) -> bool:
    finish, _, tag = entry
    is_valid = tag.is_live and tag.reached_at is not None and tag.virtual_finish == finish
    return is_valid and tag is not but_not
