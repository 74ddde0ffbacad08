"""
The fluid reference: hierarchical GPS, tenants by weight, applications by weight within a tenant.

The service fed is split among the tenants that have anyone backlogged, in proportion to their
weights; the top virtual time V_0 grows by service / sum of those weights. Each tenant's share goes
through its own clock (`tenants`, `virtual_clock`). One heap holds every tenant's next departure, on
the top clock, so an event costs O(log n) however many tenants and applications there are.

With one tenant this is the one-level reference of the paper: V_T is V.

References: Bennett and Zhang, "Hierarchical packet fair queueing algorithms", SIGCOMM 1996;
Parekh and Gallager, IEEE/ACM ToN 1(3), 1993; Justitia, arXiv:2510.17015, section 3.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

from justitia_sdk.errors import AccountingError

from .tenants import Tenant
from .virtual_clock import check_service


class Reference:
    """Who is backlogged in the fair reference, and its virtual times."""

    def __init__(self, tenant_weights: Mapping[str, float] | None = None) -> None:
        """
        Begin with nobody in it.

        Args:
            tenant_weights: W by tenant; 1 for those not named.

        Raises:
            AccountingError: A weight is not above 0.
        """
        self._tenant_weights = dict(tenant_weights or {})
        for name, weight in self._tenant_weights.items():
            if not weight > 0 or math.isinf(weight):
                raise AccountingError(
                    f"weight of tenant {name} must be finite and above 0, not {weight!r}"
                )
        self.virtual_time: float = 0  # V_0
        self._mark: float = 0  # V_0 when the sum of weights last changed
        self._given: float = 0  # service since then
        self._tenants: dict[str, Tenant] = {}
        self._tenant_of: dict[str, Tenant] = {}  # of every application known here
        self._departures: list[tuple[float, str]] = []  # superseded entries stay until popped
        self._total_weight: float = 0  # of tenants with anyone backlogged
        self._num_active = 0  # such tenants
        self._until_departure: float | None = None  # of service; None where an event changed it
        self._sweep_at = 64  # tenants known at which those of whom nothing is left are dropped

    def __len__(self) -> int:
        """Return how many applications are backlogged."""
        return sum(len(tenant.clock) for tenant in self._tenants.values())

    def __contains__(self, app_id: str) -> bool:
        """Tell whether the reference still keeps *app_id*, backlogged or not."""
        return app_id in self._tenant_of

    def is_backlogged(self, app_id: str) -> bool:
        """Tell whether *app_id* still has something to be given; AccountingError if unknown."""
        return self._tenant(app_id).clock.is_backlogged(app_id)

    def tenant(self, name: str) -> Tenant:
        """Return the tenant called *name*, its clock caught up; it is remembered from now on."""
        tenant = self._tenants.get(name)
        if tenant is None:
            self._drop_forgettable_tenants()
            tenant = Tenant(
                name, self._tenant_weights.get(name, 1), self, caught_up_to=self.virtual_time
            )
            self._tenants[name] = tenant
        tenant.catch_up()
        return tenant

    # -- events, as in `VirtualClock` ----------------------------------------------------

    def arrive(self, app_id: str, tenant_name: str, cost: float, *, weight: float = 1) -> float:
        """Add an application and return its virtual finish F = V_T + C / w."""
        if app_id in self._tenant_of:
            raise AccountingError(f"application {app_id} has arrived before")
        tenant = self.tenant(tenant_name)
        finish = tenant.clock.arrive(app_id, cost, weight=weight)
        self._tenant_of[app_id] = tenant
        self._reckon(tenant)
        return finish

    def advance(self, service: float) -> list[str]:
        """
        Give *service* to the reference and return who left on the way, in order.

        Raises:
            AccountingError: *service* is negative or not finite.

        Changes: V_0 and the set of backlogged applications. Cost: O(leavers x log n).
        """
        check_service(service)
        left: list[str] = []
        self._given += service
        while (tenant := self._next_to_depart()) is not None:
            assert tenant.next_departure is not None
            if self._service_until(tenant.next_departure) > 0:
                reached = self._mark + self._given / self._total_weight
                self.virtual_time = max(self.virtual_time, reached)
                self._until_departure = None
                break
            self.virtual_time = tenant.next_departure
            left += tenant.depart()
            self._reckon(tenant)
        else:
            self._given = 0  # nobody is there to take it
        return left

    def correct(self, app_id: str, cost: float) -> bool:
        """Replace an application's cost; return whether it is backlogged now."""
        tenant = self._tenant(app_id)
        is_backlogged = tenant.clock.correct(app_id, cost)
        self._reckon(tenant)
        return is_backlogged

    def settle(self, app_id: str, cost: float) -> bool:
        """As `correct`, of one that has ended, paused or not."""
        tenant = self._tenant(app_id)
        is_backlogged = tenant.clock.settle(app_id, cost)
        self._reckon(tenant)
        return is_backlogged

    def pause(self, app_id: str, received: float) -> bool:
        """Give it *received* and no more until it resumes; return whether it is backlogged."""
        tenant = self._tenant(app_id)
        is_backlogged = tenant.clock.pause(app_id, received)
        self._reckon(tenant)
        return is_backlogged

    def resume(self, app_id: str) -> float:
        """Let a paused application go on; return by how much its S has moved."""
        tenant = self._tenant(app_id)
        shift = tenant.clock.resume(app_id)
        self._reckon(tenant)
        return shift

    def forget(self, app_id: str) -> None:
        """Drop an application, backlogged or not."""
        tenant = self._tenant(app_id)
        tenant.clock.forget(app_id)
        del self._tenant_of[app_id]
        self._reckon(tenant)

    def virtual_start(self, app_id: str) -> float:
        """Return S of *app_id* on its tenant's clock, moved on by the time it was out."""
        return self._tenant(app_id).clock.virtual_start(app_id)

    # -- questions -----------------------------------------------------------------------

    def service_until_departure(self) -> float:
        """
        Return how much service the next one to leave still needs; infinite if none is there.

        Cost: O(1) where nothing has happened since it was last asked, as in most engine steps.
        """
        if self._until_departure is None:
            tenant = self._next_to_depart()
            due = None if tenant is None else tenant.next_departure
            self._until_departure = math.inf if due is None else self._service_until(due)
        return self._until_departure

    def service_until_fair_finish(self, app_id: str) -> float:
        """
        Return the service until *app_id* leaves, if nobody else arrives and no cost changes.

        0 for one that has left. Every tenant is served until V_0 reaches the Phi of the
        application, or until it has nothing left. Cost: O(tenants x log n); for display.
        """
        tenant = self._tenant(app_id)
        if not tenant.clock.is_backlogged(app_id):
            return 0
        span = tenant.clock.service_until(tenant.clock.virtual_finish(app_id)) / tenant.weight
        total: float = 0
        for each in self._tenants.values():
            each.catch_up()
            total += min(each.clock.service_until(math.inf), span * each.weight)
        return total

    # -- inside --------------------------------------------------------------------------

    def _tenant(self, app_id: str) -> Tenant:
        try:
            tenant = self._tenant_of[app_id]
        except KeyError:
            raise AccountingError(f"application {app_id} is not in the reference") from None
        tenant.catch_up()
        return tenant

    def _service_until(self, due: float) -> float:
        """
        Return the service until V_0 reaches *due*, if no weight changes; 0 if it has.

        What was given is summed up, not V_0: tokens add up exactly, in whatever portions they are
        fed, and rounding moves nobody by a step.
        """
        return max((due - self._mark) * self._total_weight - self._given, 0)

    def _weigh(self, total_weight: float) -> None:
        """Let V_0 grow by that sum of weights from now on."""
        self._given -= (self.virtual_time - self._mark) * self._total_weight
        self._mark, self._total_weight = self.virtual_time, total_weight

    def _drop_forgettable_tenants(self) -> None:
        """Forget tenants of whom nothing is left, when there may be many. Amortised: O(1)."""
        if len(self._tenants) >= self._sweep_at:
            self._tenants = {
                name: each for name, each in self._tenants.items() if not each.is_forgettable
            }
            self._sweep_at = 2 * len(self._tenants) + 64

    def _reckon(self, tenant: Tenant) -> None:
        """Note *tenant*'s next departure after an event in it, and whether it has any."""
        self._until_departure = None
        was_active = tenant.next_departure is not None
        due = tenant.next_departure = tenant.departure_due()
        if due is None:
            if was_active:
                self._num_active -= 1
                # Floats drift; a reference with nobody in it is the moment to forget it.
                left_weight = self._total_weight - tenant.weight
                self._weigh(left_weight if self._num_active else 0)
            return
        if not was_active:
            self._num_active += 1
            self._weigh(self._total_weight + tenant.weight)
        if len(self._departures) > 2 * self._num_active + 64:
            self._departures = [entry for entry in self._departures if self._is_due(entry)]
            heapq.heapify(self._departures)
        heapq.heappush(self._departures, (due, tenant.name))

    def _next_to_depart(self) -> Tenant | None:
        while self._departures:
            entry = self._departures[0]
            if self._is_due(entry):
                return self._tenants[entry[1]]
            heapq.heappop(self._departures)
        return None

    def _is_due(self, entry: tuple[float, str]) -> bool:
        tenant = self._tenants.get(entry[1])
        return tenant is not None and tenant.next_departure == entry[0]
