"""
Where the one-level bound ends: tenants whose later arrivals push their earlier applications back.

An application is served before another tenant's because its top tag Phi is smaller. Later arrivals
in its tenant raise its Phi past the other's, but what it was given is given: the other has waited
for service that the reference would have given it first. This keeps the account of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from justitia_server.fairness.accounts import Account
from justitia_server.fairness.ledger import Ledger

from .driver import Hooks, Pushed


@dataclass(frozen=True, slots=True)
class _Arrival:
    tenant: str
    seq: int
    cost: float


class PushWatch(Hooks):
    """Watches who is before whom, tenant against tenant, and who is fairly finished when."""

    def __init__(self) -> None:
        self._arrivals: dict[str, _Arrival] = {}
        self._served_from: dict[str, int] = {}  # the first arrival that found it served
        self._ahead_of: dict[str, set[str]] = {}  # who was ever before it, of another tenant
        self._pushed: dict[str, Pushed] = {}
        self._fairly_finished: set[str] = set()
        self._ahead_of_those: set[str] = set()

    def arrived(self, ledger: Ledger) -> None:
        """Note who is before whom now; it changes with arrivals only."""
        present = [each for each in ledger.in_flight.values() if each.tag is not None]
        newest = max(present, key=lambda each: each.arrival_seq)
        self._arrivals[newest.app_id] = _Arrival(
            newest.facts.tenant, newest.arrival_seq, newest.predicted_cost
        )
        for each in (*present, *ledger.finished.values()):
            if each.attained_service:
                self._served_from.setdefault(each.app_id, newest.arrival_seq)
        keys = [(_place(each), each.facts.tenant, each.app_id) for each in present]
        for place, tenant, app_id in keys:
            ahead = self._ahead_of.setdefault(app_id, set())
            ahead.update(name for each, other, name in keys if each < place and other != tenant)

    def fairly_finished(self, app_id: str, ledger: Ledger) -> None:
        """Add up what those were given that were before any of those fairly finished so far."""
        self._fairly_finished.add(app_id)
        self._ahead_of_those |= self._ahead_of.get(app_id, set())
        ledger.read_all()
        late = self._ahead_of_those - self._fairly_finished
        accounts = [account for each in late if (account := ledger.find(each)) is not None]
        self._pushed[app_id] = Pushed(
            sum(each.attained_service for each in accounts),
            max(sum(each.attained_service - _fairly_given(each) for each in accounts), 0.0),
            self._arrived_after(late),
        )

    def pushed(self, app_id: str) -> Pushed | None:
        """Return what was seen at the fair finish of *app_id*."""
        return self._pushed.get(app_id)

    def _arrived_after(self, late: set[str]) -> float:
        """Return the work that has arrived in the tenants of *late* since any of it was served."""
        since: dict[str, float] = {}
        for each in late:
            tenant = self._arrivals[each].tenant
            since[tenant] = min(since.get(tenant, inf), self._served_from.get(each, inf))
        return sum(
            each.cost for each in self._arrivals.values() if each.seq >= since.get(each.tenant, inf)
        )


def _place(account: Account) -> tuple[float, int]:
    assert account.tag is not None
    return (account.tag.top_finish, account.arrival_seq)


def _fairly_given(account: Account) -> float:
    """Return what the reference has given *account*, its cost told truly."""
    tag = account.tag
    assert tag is not None
    tag.tenant.catch_up()
    given = (tag.tenant.clock.virtual_time - tag.virtual_start) * tag.weight
    return min(given, account.predicted_cost)
