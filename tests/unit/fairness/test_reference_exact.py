"""
The reference against a brute-force fluid server, in exact arithmetic: equal to the token.

Histories are drawn by hypothesis. JUSTITIA_PROOF_EXAMPLES says how many for each property; the
default keeps the file short, `make prove` raises it.
"""

import math
import os
import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fluid import FluidServer

from justitia_server.fairness.reference import Reference
from justitia_server.fairness.virtual_clock import VirtualClock

proof = settings(max_examples=int(os.environ.get("JUSTITIA_PROOF_EXAMPLES", "150")), deadline=None)


class Fair:
    """The reference, called as the brute force is, with a diary of who left when."""

    def __init__(self, tenant_weights):
        self.reference = Reference(tenant_weights)
        self.service_fed = 0
        self.left_at = {}  # all the service fed when an application last left
        self.tags = {}

    def clock(self, tenant):
        return self.reference.tenant(tenant).clock

    def arrive(self, app_id, tenant, cost, weight):
        return self.reference.arrive(app_id, tenant, cost, weight=weight)

    def feed(self, service):
        """Stop at every departure; return who left, those of one moment together."""
        left, end = [], self.service_fed + service
        while (needed := self.reference.service_until_departure()) <= end - self.service_fed:
            left.append(set(self.reference.advance(needed)))
            self.service_fed += needed
            self.left_at.update(dict.fromkeys(left[-1], self.service_fed))
        rest = end - self.service_fed
        if late := self.reference.advance(rest):  # a sum of floats has rounded up to what is needed
            assert isinstance(rest, float)
            assert math.isclose(rest, needed, rel_tol=1e-12)
            left.append(set(late))
            self.left_at.update(dict.fromkeys(late, end))
        self.service_fed = end
        return left

    def correct(self, app_id, cost):
        self._may_leave(self.reference.correct, app_id, cost)

    def settle(self, app_id, cost):
        self._may_leave(self.reference.settle, app_id, cost)

    def pause(self, app_id, received):
        self._may_leave(self.reference.pause, app_id, received)

    def resume(self, app_id):
        return self._may_leave(self.reference.resume, app_id)

    def forget(self, app_id):
        self.reference.forget(app_id)

    def open_tag(self, name, tenant, cost, weight):
        owner = self.reference.tenant(tenant)
        self.tags[name] = owner.open_tag(
            cost, weight, virtual_start=owner.clock.virtual_time, seq=len(self.tags)
        )

    def move_tag(self, name, cost, shift):
        tag = self.tags[name]
        tenant = self.reference.tenant(tag.tenant.name)
        tenant.move_tag(tag, cost=cost, virtual_start=tag.virtual_start + shift)

    def close_tag(self, name):
        tag = self.tags.pop(name)
        tag.tenant.close_tag(tag)

    def _may_leave(self, event, app_id, *amounts):
        was_backlogged = self.reference.is_backlogged(app_id)
        answer = event(app_id, *amounts)
        if was_backlogged and not self.reference.is_backlogged(app_id):
            self.left_at[app_id] = self.service_fed
        return answer


class OneLevel(Fair):
    """A virtual clock alone, called in the same way."""

    def __init__(self):
        super().__init__({})
        self.reference = VirtualClock()

    def clock(self, tenant):
        return self.reference

    def arrive(self, app_id, tenant, cost, weight):
        return self.reference.arrive(app_id, cost, weight=weight)

    def open_tag(self, name, tenant, cost, weight):
        """A clock alone has no tags."""


class History:
    """What happens, in order: (what, who, amounts), the same for whoever replays it."""

    def __init__(self, num_tenants, num_events, seed, kinds):
        self._chance = random.Random(seed)
        self.tenant_weights = {f"t{number}": self._amount(3) for number in range(num_tenants)}
        self.events = []
        self._applications, self._paused, self._tags = [], [], []
        for number in range(num_events):
            self._add("arrive" if number < 4 else self._chance.choice(kinds), number)

    def __repr__(self):
        return f"tenants {self.tenant_weights}\n" + "\n".join(map(str, self.events))

    def _amount(self, most, least=1):
        return Fraction(self._chance.randint(least, most))

    def _add(self, what, number):
        if what == "feed":
            self.events.append((what, self._amount(40, 0) / self._amount(2)))
        elif what in ("arrive", "open_tag"):
            known, name = self._known(what), f"{what[0]}{number}"
            known.append(name)
            tenant = self._chance.choice(list(self.tenant_weights))
            self.events.append((what, name, tenant, 6 * self._amount(5), self._amount(3)))
        elif known := self._known(what):
            self._change(what, self._chance.choice(known))

    def _known(self, what):
        if what == "resume":
            return self._paused
        return self._tags if what.endswith("_tag") else self._applications

    def _change(self, what, name):
        least = {"correct": [1], "settle": [1], "pause": [0], "move_tag": [1, 0]}.get(what, [])
        self.events.append((what, name, *(self._amount(36, each) for each in least)))
        if what == "pause":
            self._paused.append(name)
        elif what in ("forget", "settle", "resume"):
            self._paused = [each for each in self._paused if each != name]
        if what in ("forget", "close_tag"):
            self._known(what).remove(name)


def in_floats(event):
    """Return *event* with the numbers that the server uses."""
    return [float(each) if isinstance(each, Fraction) else each for each in event]


def replay(event, *servers):
    """Let *event* happen in each server; return what each says."""
    return [getattr(server, event[0])(*event[1:]) for server in servers]


EVENTS = ["feed"] * 6 + ["arrive"] * 4 + ["pause"] * 2 + ["resume"] * 3 + ["correct"] * 2
EVENTS += ["settle", "forget"]
TAGS = ["open_tag"] * 3 + ["move_tag"] * 2 + ["close_tag"]


def histories(*, max_tenants=4, kinds=EVENTS):
    """Draw histories of up to 64 events; a failing one shrinks to its beginning."""
    return st.builds(
        History,
        st.integers(1, max_tenants),
        st.sampled_from([4, 8, 16, 32, 40, 48, 56, 64]),
        st.integers(0, 2**64),
        st.just(kinds),
    )


def assert_same(fair, model):
    """Compare everything that the two can be asked."""
    assert fair.service_fed == model.service_fed
    for name, tenant in model.tenants.items():
        assert fair.clock(name).virtual_time == tenant.virtual_time
    for app_id, application in model.applications.items():
        clock = fair.clock(application.tenant)
        assert fair.reference.is_backlogged(app_id) == application.is_backlogged
        assert clock.virtual_finish(app_id) == model.virtual_finish(app_id)
        if application.left_at is not None:
            assert fair.left_at[app_id] == application.left_at


# -- equal to the brute force ------------------------------------------------------------


@proof
@given(histories(max_tenants=1))
def test_one_level_equals_the_brute_force(history):
    """A clock alone and a reference of one tenant: the same leavers, service, V and F."""
    clock, fair = OneLevel(), Fair(history.tenant_weights)
    model = FluidServer(history.tenant_weights)
    replay(("open_tag", "keeps the tenant", "t0", Fraction(1), Fraction(1)), fair, model)
    for event in history.events:
        of_clock, of_fair, of_model = replay(event, clock, fair, model)
        if event[0] in ("feed", "arrive", "resume"):
            assert of_clock == of_fair == of_model
        assert_same(clock, model)
        assert_same(fair, model)


@proof
@given(histories())
def test_two_levels_equal_the_brute_force(history):
    """The same leavers in the same order at the same service, and the same V_0, V_T and F."""
    fair, model = Fair(history.tenant_weights), FluidServer(history.tenant_weights)
    for event in history.events:
        of_fair, of_model = replay(event, fair, model)
        if event[0] in ("feed", "arrive", "resume"):
            assert of_fair == of_model
        assert fair.reference.virtual_time == model.virtual_time
        assert_same(fair, model)


@proof
@given(histories(kinds=EVENTS + TAGS))
def test_top_tags_equal_the_brute_force(history):
    """At any moment Phi is V_0 at which a copy, left alone, reaches F; once reached it is kept."""
    fair, model = Fair(history.tenant_weights), FluidServer(history.tenant_weights)
    for event in history.events:
        replay(event, fair, model)
        for name in model.tags:
            assert fair.tags[name].top_finish == model.top_finish(name)


@proof
@given(histories())
def test_the_fair_finish_told_is_the_one_that_comes(history):
    """Service until the fair finish equals what a copy, left alone, takes."""
    fair, model = Fair(history.tenant_weights), FluidServer(history.tenant_weights)
    for event in history.events:
        replay(event, fair, model)
    for app_id in model.applications:
        told = fair.reference.service_until_fair_finish(app_id)
        assert told == model.service_until_fair_finish(app_id)


# -- what follows from it ----------------------------------------------------------------


@proof
@given(histories(kinds=EVENTS + TAGS), st.integers(1, 50))
def test_a_top_tag_stands_between_events_in_its_tenant(history, service):
    """Service alone moves no Phi, whoever leaves, until the tenant has nothing left."""
    fair = Fair(history.tenant_weights)
    for event in history.events:
        replay(event, fair)
    before = {name: tag.top_finish for name, tag in fair.tags.items()}
    fair.feed(Fraction(service))
    for name, tag in fair.tags.items():
        if len(fair.clock(tag.tenant.name)) or tag.top_finish < fair.reference.virtual_time:
            assert tag.top_finish == before[name]


@proof
@given(histories())
def test_events_in_one_tenant_move_no_other_tenants_tags(history):
    """Phi depends on what happens in its own tenant."""
    fair = Fair(history.tenant_weights | {"bystander": Fraction(1)})
    fair.arrive("bystander", "bystander", Fraction(10**6), Fraction(1))
    fair.open_tag("bystander", "bystander", Fraction(10**6), Fraction(1))
    for event in history.events:
        replay(event, fair)
        assert fair.tags["bystander"].top_finish == 10**6


@proof
@given(histories(kinds=["feed", "arrive", "pause", "resume"]))
def test_a_tag_moved_by_what_resume_returns_is_the_clocks_again(history):
    """An application that pauses and comes back has one F, in the order and in the reference."""
    fair, paused = Fair(history.tenant_weights), set()
    for what, *arguments in history.events:
        app_id = arguments[0]
        if what == "pause":
            if app_id not in paused:
                fair.pause(app_id, min(arguments[1], fair.tags[app_id].cost))
            paused.add(app_id)
            continue
        (said,) = replay((what, *arguments), fair)
        if what == "arrive":
            fair.open_tag(*arguments)
        elif what == "resume":
            paused.discard(app_id)
            tag = fair.tags[app_id]
            fair.move_tag(app_id, tag.cost, said)
            assert tag.virtual_finish == fair.clock(tag.tenant.name).virtual_finish(app_id)


@pytest.mark.parametrize("numbers", [list, in_floats], ids=["exact", "floats"])
@proof
@given(history=histories())
def test_virtual_times_never_fall(numbers, history):
    """V_0 and every V_T grow or stand still; F is not below V at arrival."""
    fair, before = Fair(history.tenant_weights), {}
    for name in history.tenant_weights:
        fair.open_tag(name, name, 1, 1)  # so that no tenant begins anew
    for event in history.events:
        (said,) = replay(numbers(event), fair)
        now = {name: fair.clock(name).virtual_time for name in history.tenant_weights}
        now["top"] = fair.reference.virtual_time
        assert all(now[name] >= before.get(name, 0) for name in now)
        if event[0] == "arrive":
            assert said >= now[event[2]]
        before = now


@proof
@given(histories(), st.integers(2, 5))
def test_splitting_an_interval_changes_nothing(history, parts):
    """The same leave in the same order however finely service is fed, and V is the same."""
    whole, split = Reference(history.tenant_weights), Reference(history.tenant_weights)
    for what, *arguments in history.events:
        if what == "feed":
            service = arguments[0]
            pieces = [app for _ in range(parts) for app in split.advance(service / parts)]
            assert pieces == whole.advance(service)
        elif what == "arrive":
            app_id, tenant, cost, weight = arguments
            for reference in (whole, split):
                reference.arrive(app_id, tenant, cost, weight=weight)
        else:
            replay((what, *arguments), whole, split)
        assert split.virtual_time == whole.virtual_time


@proof
@given(histories(), st.fractions(Fraction(1, 9), 9), st.fractions(Fraction(1, 9), 9))
def test_scaling_all_weights_changes_nothing(history, scale, tenant_scale):
    """The same leave after the same service; virtual times shrink by the factor."""
    weights = {name: weight * tenant_scale for name, weight in history.tenant_weights.items()}
    fair, scaled = Fair(history.tenant_weights), Fair(weights)
    for event in history.events:
        if event[0] == "arrive":
            _, app_id, tenant, cost, weight = event
            finish = fair.arrive(app_id, tenant, cost, weight)
            assert scaled.arrive(app_id, tenant, cost, weight * scale) * scale == finish
        elif event[0] == "feed":
            left, scaled_left = replay(event, fair, scaled)
            assert scaled_left == left
        else:
            replay(event, fair, scaled)
        assert scaled.reference.virtual_time * tenant_scale == fair.reference.virtual_time
    assert scaled.left_at == fair.left_at


@proof
@given(histories())
def test_equal_histories_give_equal_traces(history):
    """An id has no say, not even in the order of those that leave together."""
    one, other = Reference(history.tenant_weights), Reference(history.tenant_weights)
    for what, who, *amounts in map(in_floats, history.events):
        if what == "feed":
            left = other.advance(who)
            assert [app_id[::-1] for app_id in left] == one.advance(who)
        elif what == "arrive":
            tenant, cost, weight = amounts
            one.arrive(who, tenant, cost, weight=weight)
            other.arrive(who[::-1], tenant, cost, weight=weight)
        else:
            getattr(one, what)(who, *amounts)
            getattr(other, what)(who[::-1], *amounts)
        assert other.virtual_time == one.virtual_time


# -- a server that delivers what it feeds ------------------------------------------------


class Delivering:
    """A server that gives its service to whom it likes, and feeds the reference with it."""

    def __init__(self, tenant_weights):
        self.fair = Fair(tenant_weights)
        self.costs, self.received, self.clocks = {}, {}, {}

    def arrive(self, app_id, tenant, cost, weight):
        self.fair.arrive(app_id, tenant, cost, weight)
        self.costs[app_id], self.received[app_id] = (cost, weight), Fraction(0)
        self.clocks[app_id] = tenant

    def deliver(self, service, chance):
        """Give *service* to some that still want it, and no more than there is work."""
        while service and (waiting := [app for app in self.costs if self.wants(app)]):
            app_id = chance.choice(waiting)
            part = min(service, self.wants(app_id), Fraction(chance.randint(1, 20)))
            self.received[app_id] += part
            self.fair.feed(part)
            service -= part

    def wants(self, app_id):
        return self.costs[app_id][0] - self.received[app_id]

    def lag(self, app_id):
        """Return reference service minus real."""
        (cost, weight), clock = self.costs[app_id], self.fair.clock(self.clocks[app_id])
        ahead = (clock.virtual_finish(app_id) - clock.virtual_time) * weight
        is_backlogged = self.fair.reference.is_backlogged(app_id)
        return cost - (ahead if is_backlogged else 0) - self.received[app_id]


@proof
@given(histories(kinds=["feed", "arrive"]), st.randoms(use_true_random=False))
def test_lags_sum_to_zero_while_nothing_is_corrected(history, chance):
    """What one is owed, others have had too much."""
    server = Delivering(history.tenant_weights)
    for what, *arguments in history.events:
        if what == "arrive":
            server.arrive(*arguments)
        else:
            server.deliver(arguments[0], chance)
        assert sum(server.lag(app_id) for app_id in server.costs) == 0


@proof
@given(histories(kinds=["feed", "arrive"]), st.randoms(use_true_random=False))
def test_busy_periods_of_reference_and_server_coincide(history, chance):
    """With true costs the reference is empty exactly when all the costs have been given."""
    server = Delivering(history.tenant_weights)
    for what, *arguments in history.events:
        if what == "arrive":
            server.arrive(*arguments)
        else:
            server.deliver(arguments[0], chance)
        is_done = sum(server.received.values()) == sum(cost for cost, _ in server.costs.values())
        assert (len(server.fair.reference) == 0) == is_done


# -- the numbers the server uses ---------------------------------------------------------

COST_UNIT = 10**5  # KV token-time, about that of one short call


def in_units(event):
    """Return *event* with its service in units, and tags set between the applications' F."""
    what, *arguments = event
    place = {"feed": 0, "arrive": 2, "open_tag": 2}.get(what, 1)
    if place < len(arguments):
        arguments[place] *= COST_UNIT
        arguments[place] += 37 if what.endswith("_tag") else 0
    return (what, *arguments)


def assert_near(number, exact):
    """Allow a millionth of a short call's cost."""
    assert math.isclose(number, exact, rel_tol=1e-14, abs_tol=1e-6 * COST_UNIT)


@pytest.mark.parametrize("virtual_time", [0, 10**12])
@proof
@given(history=histories(kinds=EVENTS + TAGS))
def test_floats_agree_with_the_exact_numbers(virtual_time, history):
    """V, F, Phi and the service at leaving, also after V has grown large."""
    names = history.tenant_weights
    fair, model = Fair({name: float(names[name]) for name in names}), FluidServer(names)
    events = [("arrive", name, name, Fraction(10**13), Fraction(1)) for name in names]
    events.append(("feed", virtual_time * sum(names.values())))
    events += [*map(in_units, history.events), ("feed", Fraction(10**15))]
    tied = set()  # rounding has decided otherwise whether they have all they are to be given by now
    for event in events:
        replay(in_floats(event), fair)
        replay(event, model)
        for app_id, application in model.applications.items():
            clock = fair.clock(application.tenant)
            if fair.reference.is_backlogged(app_id) != application.is_backlogged:
                tied.add(app_id)
                known = model if application.is_backlogged else clock
                assert_near(known.virtual_finish(app_id), clock.virtual_time)
                continue
            if application.is_backlogged:
                tied.discard(app_id)
            if app_id not in tied:
                assert_near(clock.virtual_finish(app_id), model.virtual_finish(app_id))
        if event[0] == "feed":
            assert_near(fair.reference.virtual_time, model.virtual_time)
            for name, tenant in model.tenants.items():
                assert_near(fair.clock(name).virtual_time, tenant.virtual_time)
            for name in model.tags:
                assert_near(fair.tags[name].top_finish, model.top_finish(name))
    for app_id, application in model.applications.items():
        if app_id not in tied:
            assert_near(fair.left_at[app_id], application.left_at)
