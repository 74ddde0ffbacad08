"""
A fluid two-level fair server by brute force: what the reference is proved against.

Service is split among the tenants that have anyone backlogged, by tenant weight, and in a tenant
among its backlogged applications, by weight. Everybody is looked at at every event: no heap, no
index, no virtual time in the serving, and exact arithmetic (`fractions.Fraction`). Virtual times
are kept beside it as what they are defined to be: service over the weights it is split among.

One rule says who is served: an application is backlogged exactly while it was given less than its
limit. The limit is its cost, or while it pauses what it has really received.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

ZERO = Fraction(0)


@dataclass
class FluidApplication:
    """What one application is to be given and what it was given."""

    tenant: str
    weight: Fraction
    cost: Fraction
    limit: Fraction
    given: Fraction = ZERO
    is_paused: bool = False
    left_at: Fraction | None = None  # all the service fed when it last left
    virtual_left_at: Fraction = ZERO  # V_T then

    @property
    def is_backlogged(self) -> bool:
        return self.given < self.limit


@dataclass
class FluidTenant:
    """A tenant's weight, and V_T as it grows."""

    weight: Fraction
    virtual_time: Fraction = ZERO


@dataclass
class FluidTag:
    """A virtual finish to be waited for, and V_0 when V_T reached it."""

    tenant: str
    start: Fraction
    weight: Fraction
    finish: Fraction
    reached_at: Fraction | None = None


class FluidServer:
    """Serves everybody at once."""

    def __init__(self, tenant_weights: Mapping[str, Fraction]) -> None:
        self.tenant_weights = tenant_weights
        self.virtual_time = ZERO  # V_0
        self.service_fed = ZERO
        self.applications: dict[str, FluidApplication] = {}
        self.tenants: dict[str, FluidTenant] = {}
        self.tags: dict[str, FluidTag] = {}

    # -- events --------------------------------------------------------------------------

    def arrive(self, app_id: str, tenant: str, cost: Fraction, weight: Fraction) -> Fraction:
        """Add an application and return its virtual finish."""
        self._remember(tenant)
        self.applications[app_id] = FluidApplication(tenant, weight, cost, limit=cost)
        return self.virtual_finish(app_id)

    def feed(self, service: Fraction) -> list[set[str]]:
        """Serve until *service* is given out; return who left, those of one moment together."""
        left, end = [], self.service_fed + service
        while service > 0 and self._backlogged():
            used, gone = self._serve_to_next_event(service)
            service -= used
            if gone:
                left.append(gone)
        self.service_fed = end
        return left

    def correct(self, app_id: str, cost: Fraction) -> None:
        """Replace an application's cost."""
        application = self.applications[app_id]
        application.cost = cost
        if not application.is_paused:
            self._set_limit(application, cost)

    def settle(self, app_id: str, cost: Fraction) -> None:
        """Replace the cost of one that has ended, paused or not."""
        self.applications[app_id].is_paused = False
        self.correct(app_id, cost)

    def pause(self, app_id: str, received: Fraction) -> None:
        """Give it *received* and no more until it resumes."""
        self.applications[app_id].is_paused = True
        self._set_limit(self.applications[app_id], received)

    def resume(self, app_id: str) -> Fraction:
        """Let it go on to its cost; return the growth of V_T while it was out, if it was."""
        application = self.applications[app_id]
        was_out = not application.is_backlogged
        self.settle(app_id, application.cost)
        if not was_out or not application.is_backlogged:
            return ZERO
        return self.tenants[application.tenant].virtual_time - application.virtual_left_at

    def forget(self, app_id: str) -> None:
        """Drop an application."""
        del self.applications[app_id]

    # -- tags ----------------------------------------------------------------------------

    def open_tag(self, name: str, tenant: str, cost: Fraction, weight: Fraction) -> None:
        """Wait for V_T to grow by *cost* / *weight*."""
        self._remember(tenant)
        start = self.tenants[tenant].virtual_time
        self.tags[name] = FluidTag(tenant, start, weight, start + cost / weight)

    def move_tag(self, name: str, cost: Fraction, shift: Fraction) -> None:
        """Wait for another moment; one that is late is dated in the order of late tags."""
        tag = self.tags.pop(name)
        tag.start += shift
        tag.finish = tag.start + cost / tag.weight
        if tag.finish > self.tenants[tag.tenant].virtual_time:
            tag.reached_at = None
        else:
            late = [
                each for each in self.tags.values()
                if each.tenant == tag.tenant and each.reached_at is not None
            ]  # fmt: skip
            at = self.virtual_time if tag.reached_at is None else tag.reached_at
            least = [each.reached_at for each in late if each.finish < tag.finish]
            most = [each.reached_at for each in late if each.finish >= tag.finish]
            tag.reached_at = min([max([at, *least]), *most])
        self.tags[name] = tag

    def close_tag(self, name: str) -> None:
        """Wait no more."""
        del self.tags[name]

    def top_finish(self, name: str) -> Fraction:
        """Return V_0 when V_T reaches the tag, or has nothing left: by trying it out on a copy."""
        tag, trial = self.tags[name], self.copy()
        while trial.tags[name].reached_at is None and trial._backlogged(tag.tenant):
            trial._serve_to_next_event()
        reached_at = trial.tags[name].reached_at
        return trial.virtual_time if reached_at is None else reached_at

    # -- questions -----------------------------------------------------------------------

    def virtual_finish(self, app_id: str) -> Fraction:
        """Return V_T at which it leaves, or for one that has left, would have left."""
        application = self.applications[app_id]
        virtual_time = application.virtual_left_at
        if application.is_backlogged:
            virtual_time = self.tenants[application.tenant].virtual_time
        return virtual_time + (application.limit - application.given) / application.weight

    def service_until_fair_finish(self, app_id: str) -> Fraction:
        """Return the service until it leaves, if nothing else happens: by trying it out."""
        trial, total = self.copy(), ZERO
        while trial.applications[app_id].is_backlogged:
            total += trial._serve_to_next_event()[0]
        return total

    def copy(self) -> FluidServer:
        """Return one that goes its own way from here."""
        twin = FluidServer(self.tenant_weights)
        twin.virtual_time, twin.service_fed = self.virtual_time, self.service_fed
        for name in ("applications", "tenants", "tags"):
            ours: dict[str, FluidTenant] = getattr(self, name)
            setattr(twin, name, {key: dataclasses.replace(each) for key, each in ours.items()})
        return twin

    # -- inside --------------------------------------------------------------------------

    def _remember(self, tenant: str) -> None:
        self.tenants.setdefault(tenant, FluidTenant(self.tenant_weights[tenant]))

    def _backlogged(self, tenant: str | None = None) -> list[FluidApplication]:
        return [
            application
            for application in self.applications.values()
            if application.is_backlogged and tenant in (None, application.tenant)
        ]

    def _set_limit(self, application: FluidApplication, limit: Fraction) -> None:
        was_backlogged = application.is_backlogged
        application.limit = limit
        if was_backlogged and not application.is_backlogged:
            self._note_leaving(application)

    def _note_leaving(self, application: FluidApplication) -> None:
        application.left_at = self.service_fed
        application.virtual_left_at = self.tenants[application.tenant].virtual_time

    def _serve_to_next_event(self, most: Fraction | None = None) -> tuple[Fraction, set[str]]:
        """Serve *most*, or until a limit or a tag is reached; return the service, and who left."""
        served = {name: each for name, each in self.applications.items() if each.is_backlogged}
        active = {each.tenant: self.tenants[each.tenant] for each in served.values()}
        active_weight = sum(tenant.weight for tenant in active.values())
        # What a unit of service does: to V_T, to what an application is given, to V_0.
        virtual_rates = {
            name: tenant.weight
            / active_weight
            / sum(each.weight for each in served.values() if each.tenant == name)
            for name, tenant in active.items()
        }
        rates = {name: virtual_rates[each.tenant] * each.weight for name, each in served.items()}
        spans = [(each.limit - each.given) / rates[name] for name, each in served.items()]
        spans += [
            (tag.finish - active[tag.tenant].virtual_time) / virtual_rates[tag.tenant]
            for tag in self.tags.values()
            if tag.reached_at is None and tag.tenant in active
        ]
        service = min(spans if most is None else [*spans, most])

        self.service_fed += service
        self.virtual_time += service / active_weight
        for name, tenant in active.items():
            tenant.virtual_time += service * virtual_rates[name]
        for name, each in served.items():
            each.given += service * rates[name]
        gone = {name for name, each in served.items() if not each.is_backlogged}
        for name in gone:
            self._note_leaving(served[name])
        self._date_tags()
        return service, gone

    def _date_tags(self) -> None:
        for tag in self.tags.values():
            if tag.reached_at is None and tag.finish <= self.tenants[tag.tenant].virtual_time:
                tag.reached_at = self.virtual_time
