"""The policies: one contract over all of them, and what each is for."""

from collections.abc import Sized
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.books import KINDS, Books, Life

from justitia_sdk.errors import ConfigurationError
from justitia_server.fairness.cost import COMPUTE, KV_TOKEN_TIME, call_cost
from justitia_server.fairness.policies.base import BasePolicy, Victim, precedes
from justitia_server.fairness.policies.justitia import Justitia
from justitia_server.fairness.policies.las import BETA, FIRST_QUANTUM_TOKENS, level_of
from justitia_server.fairness.policies.registry import POLICIES, make_policy

NAMES = sorted(POLICIES)
TENANTS_KEPT = {"vtc_tenant": {"_counters"}}  # tenants are few, and come back


def order(books):
    """Serve everything that waits; return whose calls they were, and take them back."""
    calls = [books.queue.pop() for _ in range(len(books.queue))]
    for call in calls:
        books.queue.add(call)
    return [call.account.app_id for call in calls]


# -- the contract ------------------------------------------------------------------------


lives = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(1, 40)), max_size=40
)


def all_keys(policy, calls):
    """Return every call's groups and keys at every depth."""
    groups = [policy.groups(call.account) for call in calls]
    return [
        (names, [policy.key(call, depth) for depth in range(len(names) + 1)])
        for call, names in zip(calls, groups, strict=True)
    ]


def first_difference(one, other):
    """Return the depth at which two calls are in different groups, or that of their own keys."""
    differ = [name != its for name, its in zip(one, other, strict=True)]
    return differ.index(True) if True in differ else len(one)


@pytest.mark.parametrize("name", NAMES)
@given(events=lives)
@settings(deadline=None, max_examples=25)
def test_whatever_happens_keys_are_a_total_order(name, events):
    """
    Tuples of numbers that end in an arrival number; asked twice, the same.

    No two calls of one group, and no two groups, have the same key.
    """
    life = Life(name)
    for event in events:
        life.happen(*event)
    policy, calls = life.books.policy, life.waiting + life.running
    keys = all_keys(policy, calls)
    assert keys == all_keys(policy, calls)
    for call, (groups, at_depth) in zip(calls, keys, strict=True):
        arrivals = {call.arrival_seq, call.account.arrival_seq}
        assert all(isinstance(key, tuple) and key[-1] in arrivals for key in at_depth)
        assert at_depth[-1][-1] == call.arrival_seq or not groups
    for (one, its), (other, others) in permutations(keys, 2):
        depth = first_difference(one, other)
        assert its[depth] != others[depth]


@pytest.mark.parametrize("name", NAMES)
@given(events=lives)
@settings(deadline=None, max_examples=25)
def test_groups_and_places_never_change(name, events):
    """Where an application's calls are, and the order within the innermost group, stand."""
    life = Life(name)
    policy, seen = life.books.policy, {}
    for event in events:
        life.happen(*event)
        for call in life.waiting + life.running:
            groups = policy.groups(call.account)
            standing = (groups, policy.key(call, len(groups)))
            assert seen.setdefault(call, standing) == standing


@pytest.mark.parametrize("name", NAMES)
@given(events=lives)
@settings(deadline=None, max_examples=25)
def test_equal_histories_give_equal_orders(name, events):
    """Nothing depends on hashing, on time of day or on chance."""
    twins = Life(name), Life(name)
    for event in events:
        for life in twins:
            life.happen(*event)
    one, other = ([call.request_id for call in life.books.queue] for life in twins)
    assert one == other


@pytest.mark.parametrize("name", NAMES)
@given(events=lives)
@settings(deadline=None, max_examples=10)
def test_nothing_is_kept_when_all_have_finished(name, events):
    """In whatever order things end, a policy forgets the application with its end."""
    life = Life(name)
    for event in events:
        life.happen(*event)
    life.close()
    kept = {key for key, value in vars(life.books.policy).items() if has_entries(value)}
    assert kept <= TENANTS_KEPT.get(name, set())


def has_entries(value):
    return isinstance(value, Sized) and not isinstance(value, str) and len(value) > 0


VICTIMS = {
    "fcfs": Victim.LAST_ADMITTED,
    "app_fcfs": Victim.LAST_ADMITTED,
    "sjf": Victim.LAST_IN_ORDER,
    "srjf": Victim.LAST_IN_ORDER,
    "vtc": Victim.LAST_ADMITTED,
    "vtc_tenant": Victim.LAST_ADMITTED,
    "las": Victim.LAST_ADMITTED,
    "justitia": Victim.LAST_IN_ORDER,
    "justitia_nominal": Victim.LAST_IN_ORDER,
    "justitia_compute": Victim.LAST_IN_ORDER,
}


def test_each_states_its_victim():
    """What is ordered by predictions gives up the last in order; the rest do as vLLM does."""
    assert {name: make_policy(name).victim for name in NAMES} == VICTIMS


def test_each_says_what_it_counts_and_what_feeds_its_clock():
    """KV token-time and delivered service, but where the name says otherwise."""
    costs = {name: make_policy(name).cost for name in NAMES}
    assert costs.pop("justitia_compute") is COMPUTE
    assert set(costs.values()) == {KV_TOKEN_TIME}


def test_each_is_known_by_its_name():
    """In the registry, and in what it says of itself."""
    assert [make_policy(name).name for name in NAMES] == NAMES


def test_an_unknown_policy_is_refused_with_the_known_ones():
    """Whoever mistypes sees what there is."""
    with pytest.raises(ConfigurationError, match=r"'fifo' is unknown; choose one of: app_fcfs, "):
        make_policy("fifo")


def test_a_policy_is_never_shared():
    """Its state is one server's."""
    assert make_policy("vtc") is not make_policy("vtc")


def test_the_first_level_that_differs_decides():
    """Calls of one application by their place, of two by the applications' keys."""
    books = Books()
    early, late = books.call("a", stage_index=1), books.call("a", stage_index=0)
    cheap = books.call("b", cost=1.0, stage_index=9)
    assert precedes(books.policy, late, early)
    assert precedes(books.policy, cheap, late)
    assert not precedes(books.policy, early, cheap)


def test_a_policy_that_notes_nothing_may_be_told_everything():
    """What is inherited does nothing, whatever happens."""
    life = Life(BasePolicyWithKey())
    for kind in KINDS:
        life.happen("call", 1, 4)
        life.happen(kind, 1, 3)
    life.close()


class BasePolicyWithKey(BasePolicy):
    def key(self, call, depth):
        return (call.arrival_seq,)


# -- first come, first served ------------------------------------------------------------


def test_fcfs_serves_calls_as_they_came():
    """Whoever they belong to, whatever their stage."""
    books = Books("fcfs")
    for app_id, stage_index in [("b", 1), ("a", 0), ("b", 0)]:
        books.call(app_id, stage_index=stage_index)
    assert order(books) == ["b", "a", "b"]


def test_app_fcfs_serves_applications_as_they_came():
    """By their first calls: a later call of an earlier application goes first."""
    books = Books("app_fcfs")
    for app_id in "bab":
        books.call(app_id)
    assert order(books) == ["b", "b", "a"]


def test_app_fcfs_remembers_an_application_between_calls():
    """It has come before the other, and still has."""
    books = Books("app_fcfs")
    books.spend("early", 10)
    for app_id in ("late", "early"):
        books.call(app_id)
    assert order(books) == ["early", "late"]


# -- shortest first ----------------------------------------------------------------------


def test_sjf_serves_the_cheapest_call():
    """Its own cost counts, not its application's."""
    books = Books("sjf")
    books.call("a", prompt=10, output=20, cost=1.0)
    books.call("b", prompt=10, output=5, cost=1e6)
    assert order(books) == ["b", "a"]


def test_srjf_serves_who_has_least_to_go():
    """Less the more an application has received."""
    books = Books("srjf")
    served, _ = books.call("a", prompt=9, cost=100.0), books.call("a")
    books.call("b", cost=95.0)
    assert order(books) == ["b", "a", "a"]
    books.deliver(served)  # 90 to go
    assert order(books) == ["a", "b"]


def test_srjf_wins_nobody_more_than_nothing_to_go():
    """What was used beyond the prediction counts no further: by arrival."""
    books = Books("srjf")
    for app_id, num_tokens in [("a", 1), ("b", 20)]:
        books.deliver(books.call(app_id, cost=5.0), num_tokens)
    for app_id in "bac":
        books.call(app_id, cost=1.0)
    assert order(books) == ["a", "b", "c"]


def test_srjf_follows_revisions_both_ways():
    """What is left is what is now thought to be left."""
    books = Books("srjf")
    for app_id in "ab":
        books.call(app_id, cost=100.0)
    books.ledger.revise("a", 200.0, books.now)
    assert order(books) == ["b", "a"]
    books.ledger.revise("a", 50.0, books.now)
    assert order(books) == ["a", "b"]


# -- virtual token counters --------------------------------------------------------------


def test_vtc_counts_the_prompt_once_and_each_output_token_twice():
    """When a call is first admitted, and when a token is delivered."""
    books = Books("vtc")
    call = books.call("a", prompt=10)
    books.call("a")
    books.deliver(call, 3)
    books.queue.add(call)  # preempted
    books.deliver(call, 1)
    assert books.policy._counters == {"a": 10 + 2 * 4}


def test_vtc_serves_who_was_served_least():
    """What is predicted does not matter."""
    books = Books("vtc")
    for app_id in "aabb":
        books.call(app_id, prompt=10, cost=1.0)
    books.deliver(books.queue.peek(), 3)
    assert order(books) == ["b", "b", "a"]
    books.deliver(books.queue.peek(), 4)
    assert order(books) == ["a", "b"]


def test_vtc_lifts_a_newcomer_to_the_least_who_wait():
    """Having been away, or never here, is no claim to what was served meanwhile."""
    books = Books("vtc")
    served = [books.call("a", prompt=30), books.call("b", prompt=20)]
    for app_id in "ab":
        books.call(app_id)
    for call in served:
        books.admit(call)
    books.call("c")
    assert books.policy._counters == {"a": 30, "b": 20, "c": 20}


def test_vtc_lifts_a_newcomer_to_who_waited_last_if_none_waits():
    """The queue is empty: the last to leave it stands for it, with what it was served since."""
    books = Books("vtc")
    for app_id, prompt in [("a", 30), ("b", 20)]:
        call = books.call(app_id, prompt=prompt)
        books.deliver(call, 5)
    assert books.policy._counters == {"a": 40, "b": 70}
    books.call("c")
    assert books.policy._counters["c"] == 70


def test_vtc_remembers_the_counter_of_who_waited_last():
    """Its application may have ended since."""
    books = Books("vtc")
    books.spend("a", 30, last=True)
    books.call("b")
    assert books.policy._counters == {"b": 29 + 2}


def test_vtc_lowers_nobody():
    """One that was served more than those who wait comes back with what it has."""
    books = Books("vtc")
    calls = [books.call("a", prompt=30), books.call("b", prompt=10)]
    for call in calls:
        books.admit(call)
    for app_id in "ba":
        books.call(app_id)
    assert books.policy._counters == {"a": 30, "b": 10}


def test_vtc_tenant_counts_by_tenant():
    """Splitting work among applications wins nothing; a tenant's calls go as they came."""
    books = Books("vtc_tenant")
    served = [
        books.call(app_id, tenant=tenant, prompt=10)
        for app_id, tenant in [("a1", "t"), ("a2", "t"), ("b1", "u")]
    ]
    for app_id, tenant in [("a2", "t"), ("a1", "t"), ("b1", "u")]:
        books.call(app_id, tenant=tenant)
    for call in served:
        books.admit(call)
    assert books.policy._counters == {"t": 20, "u": 10}
    assert order(books) == ["b1", "a2", "a1"]


def test_vtc_tenant_remembers_a_tenant_between_its_applications():
    """The next one begins where the last one ended."""
    books = Books("vtc_tenant")
    books.call("waits", tenant="u")
    books.spend("a1", 100, tenant="t", last=True)
    books.call("a2", tenant="t")
    assert order(books) == ["waits", "a2"]


# -- least attained service --------------------------------------------------------------


def test_las_has_levels_that_double():
    """The first quantum, then twice as much, then four times."""
    quantum = FIRST_QUANTUM_TOKENS
    tokens = [0, quantum - 1, quantum, 2 * quantum - 1, 2 * quantum, 4 * quantum]
    assert [level_of(num_tokens) for num_tokens in tokens] == [0, 0, 1, 1, 2, 3]


def test_las_serves_who_has_received_little():
    """Within a level calls go as they came; past a quantum they are behind."""
    books = Books("las")
    served = books.call("a")
    for app_id in "ab":
        books.call(app_id)
    books.deliver(served, FIRST_QUANTUM_TOKENS - 1)
    assert order(books) == ["a", "b"]
    books.deliver(served, 1)
    assert order(books) == ["b", "a"]


def starve(books, num_iterations):
    for _ in range(num_iterations):
        books.step()


PATIENCE = int(BETA * FIRST_QUANTUM_TOKENS)


def test_las_promotes_those_who_starve():
    """Having waited BETA iterations for each token of a quantum, a goes before everybody."""
    books = Books("las")
    books.deliver(books.call("a"), FIRST_QUANTUM_TOKENS)
    books.call("a")
    starve(books, PATIENCE - 1)
    books.call("b")
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_tells_the_queue_of_a_promotion():
    """Nobody came or went: the head is another all the same."""
    books = Books("las")
    books.deliver(books.call("a"), FIRST_QUANTUM_TOKENS)
    books.call("a")
    starve(books, PATIENCE - 1)
    books.call("b")
    assert books.queue.peek().account.app_id == "b"
    starve(books, 1)
    assert books.queue.peek().account.app_id == "a"


def test_las_adds_waits_up():
    """Half of its patience for one call, the other half for the next."""
    books = Books("las")
    first = books.call("a")
    starve(books, PATIENCE // 2)
    books.deliver(first, FIRST_QUANTUM_TOKENS)
    starve(books, PATIENCE)  # nothing waits
    books.call("a")
    starve(books, PATIENCE // 2 - 1)
    books.call("b")
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_goes_on_waiting_when_a_call_that_runs_ends():
    """The other one waits as before."""
    books = Books("las")
    running = books.call("a")
    books.call("a")
    books.deliver(running, FIRST_QUANTUM_TOKENS)
    books.end(running)
    starve(books, PATIENCE - 1)
    books.call("b")
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_begins_anew_after_a_promotion():
    """What was waited before it is paid for."""
    books = Books("las")
    books.deliver(books.call("a"), FIRST_QUANTUM_TOKENS)
    waited = books.call("a")
    starve(books, PATIENCE)
    books.admit(waited)
    books.call("a")
    starve(books, PATIENCE - 1)
    books.call("b")
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_has_the_more_patience_the_more_was_received():
    """Waiting is measured by tokens received, those since the wait began included."""
    books = Books("las")
    served = books.call("a")
    books.call("a")
    books.deliver(served, 2 * FIRST_QUANTUM_TOKENS)
    starve(books, 2 * PATIENCE - 1)
    books.call("b")
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_promotes_for_one_admission():
    """Then the application is where its tokens put it, and its patience begins anew."""
    books = Books("las")
    books.deliver(books.call("a"), FIRST_QUANTUM_TOKENS)
    for _ in range(2):
        books.call("a")
    starve(books, PATIENCE)
    books.call("b")
    books.admit(books.queue.peek())
    assert order(books) == ["b", "a"]
    starve(books, PATIENCE - 1)
    assert order(books) == ["b", "a"]
    starve(books, 1)
    assert order(books) == ["a", "b"]


def test_las_does_not_count_the_time_between_calls():
    """Who has no call waiting does not wait."""
    books = Books("las")
    books.complete(books.call("a"), 1)
    starve(books, 10 * PATIENCE)
    books.call("b")
    books.call("a")
    starve(books, PATIENCE - 1)
    assert order(books) == ["b", "a"]


# -- justitia ----------------------------------------------------------------------------


def test_justitia_serves_who_would_be_done_first_under_fair_sharing():
    """By F = S + C / w, not by arrival, not by cost alone."""
    books = Books()
    books.call("large", cost=300.0)
    books.call("weighty", cost=300.0, weight=3.0)
    books.call("small", cost=200.0)
    assert order(books) == ["weighty", "small", "large"]


def test_justitia_lets_nobody_overtake_for_ever():
    """Later arrivals start at a later V: a large application has its turn."""
    books = Books()
    books.call("large", cost=120.0)
    overtook = []
    for number in range(20):
        books.spend(f"small{number}", 50, cost=50.0, last=True)
        asks = books.call(f"asks{number}", cost=50.0)
        overtook.append(order(books)[0] == asks.account.app_id)
        books.end(asks)
        books.ledger.finish(asks.account.app_id, books.now)
    assert overtook == sorted(overtook, reverse=True)
    assert not overtook[-1]


def test_justitia_splits_tenants_by_weight_whatever_they_split():
    """Four applications of one tenant get no more than the one of the other."""
    books = Books()
    for number in range(4):
        books.call(f"t{number}", tenant="t", cost=100.0)
    books.call("u0", tenant="u", cost=150.0)
    assert order(books) == ["u0", "t0", "t1", "t2", "t3"]


def test_justitia_gives_a_heavier_tenant_its_share():
    """At weight 4 the four are paid for by V_0 = 100, before the one of 150."""
    books = Books(tenant_weights={"t": 4.0})
    for number in range(4):
        books.call(f"t{number}", tenant="t", cost=100.0)
    books.call("u0", tenant="u", cost=150.0)
    assert order(books) == ["t0", "t1", "t2", "t3", "u0"]


def test_justitia_breaks_ties_by_arrival():
    """Equal tags, among tenants and within one."""
    books = Books()
    for app_id, tenant in [("b", "u"), ("a", "t"), ("c", "u")]:
        books.call(app_id, tenant=tenant, cost=100.0, weight=2.0 if app_id == "a" else 1.0)
    assert order(books)[0] == "a"  # F = 50
    assert order(books)[1:] == ["b", "c"]


def test_within_an_application_stage_then_critical_path_then_arrival():
    """Earlier stages first; in a stage what the rest waits for longest."""
    books = Books()
    calls = [
        books.call("a", stage_index=1, critical_path=9),
        books.call("a", stage_index=0, critical_path=2),
        books.call("a", stage_index=0, critical_path=5),
        books.call("a", stage_index=0, critical_path=2),
        books.call("a"),
    ]
    popped = [books.queue.pop() for _ in range(5)]
    assert popped == [calls[index] for index in (2, 1, 3, 4, 0)]


def test_a_scout_is_ordered_by_its_own_cost():
    """V + c / w: a's first call goes before b, the rest of a after it."""
    books = Books()
    books.call("b", cost=500.0)
    scout = books.call("a", cost=1000.0, weight=2.0, prompt=10, output=4, is_scout=True)
    assert scout.tag.virtual_finish == call_cost(10, 4) / 2
    assert order(books) == ["a", "b"]
    books.admit(scout)
    books.call("a", cost=1000.0)
    books.call("c", cost=200.0)
    assert order(books) == ["c", "b", "a"]


def test_a_scout_starts_at_its_own_arrival():
    """A later call tagged by its own cost starts at V as it is then."""
    books = Books()
    books.call("a", cost=1e6)
    books.spend("a", 300)
    scout = books.call("a", prompt=10, output=4, is_scout=True)
    assert (scout.tag.virtual_start, scout.tag.virtual_finish) == (300, 300 + call_cost(10, 4))


def test_a_scout_may_reveal_its_application():
    """Found to be cheap or dear, the rest follows, up as well as down."""
    books = Books()
    books.call("b", cost=500.0)
    scout = books.call("a", cost=400.0, output=1, is_scout=True)
    books.complete(scout, 1)
    books.ledger.revise("a", 600.0, books.now, both_ways=True)
    books.call("a")
    assert order(books) == ["b", "a"]


def test_a_scouts_tag_goes_with_it():
    """Ended or aborted, nothing waits for it."""
    books = Books()
    scout = books.call("a", is_scout=True)
    books.end(scout, completed=False)
    assert not scout.tag.is_live
    assert books.ledger.reference.tenant("default").num_tags == 1


def test_justitia_compute_counts_tokens():
    """A long prompt that says little costs much memory and few tokens."""
    books = Books("justitia_compute")
    call = books.call("a", prompt=100, output=10)
    books.deliver(call, 10)
    assert call.predicted_cost == call.account.attained_service == 100 + 2 * 10


# -- the paper ---------------------------------------------------------------------------


class Paper:
    """
    Justitia as the paper has it (arXiv:2510.17015, section 3): one queue, sorted by F.

    F_j = V(a_j) + C_j / w_j, and dV = service / sum of the weights of those with F > V.
    """

    def __init__(self):
        self.virtual_time = Fraction(0)
        self.finishes, self.weights = {}, {}

    def arrive(self, app_id, cost, weight):
        self.finishes[app_id] = self.virtual_time + Fraction(cost, weight)
        self.weights[app_id] = weight

    def serve(self, service):
        while ahead := [name for name, f in self.finishes.items() if f > self.virtual_time]:
            weight = sum(self.weights[name] for name in ahead)
            first = min(self.finishes[name] for name in ahead)
            step = min(Fraction(service, weight), first - self.virtual_time)
            self.virtual_time += step
            service -= step * weight
            if not service:
                return

    def first(self, waiting):
        return min(waiting, key=lambda app_id: (self.finishes[app_id], waiting.index(app_id)))


arrivals = st.lists(
    st.tuples(st.integers(2, 60), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=15
)


@pytest.mark.parametrize("name", ["justitia", "justitia_nominal"])
@given(arrivals=arrivals)
@settings(deadline=None, max_examples=60)
def test_with_one_tenant_the_order_is_the_papers(name, arrivals):
    """
    Random (C, w, how many are served before the next arrival): the same tags, the same order.

    In exact arithmetic, with true costs, over the delivered clock and over the nominal one.
    """
    books = Books(name, capacity=100, tenant_weights={"default": Fraction(1)})
    paper, waiting = Paper(), []

    def serve_one():
        call, first = books.queue.pop(), paper.first(waiting)
        assert (call.account.app_id, call.account.virtual_finish) == (first, paper.finishes[first])
        service = call.num_prompt_tokens + 1
        books.complete(call, 1)
        paper.serve(service if name == "justitia" else 100)
        assert books.virtual_time == paper.virtual_time
        waiting.remove(first)

    for number, (cost, weight, num_served) in enumerate(arrivals):
        told = {"cost": Fraction(cost), "weight": Fraction(weight), "last": True}
        books.call(f"a{number}", prompt=cost - 1, **told)
        paper.arrive(f"a{number}", cost, weight)
        waiting.append(f"a{number}")
        for _ in range(min(num_served, len(waiting))):
            serve_one()
    while waiting:
        serve_one()


class OneLevel(Justitia):
    """Applications by F, as if there were no tenants."""

    def groups(self, account):
        return (account.app_id,)

    def key(self, call, depth):
        return super().key(call, depth + 1)


@given(events=lives)
@settings(deadline=None, max_examples=60)
def test_with_one_tenant_the_second_level_changes_nothing(events):
    """Whatever happens, corrections and waits included: the same calls in the same order."""
    two, one = Life("justitia", num_tenants=1), Life(OneLevel(), num_tenants=1)
    for event in events:
        for life in (two, one):
            life.happen(*event)
        orders = [[call.request_id for call in life.books.queue] for life in (two, one)]
        assert orders[0] == orders[1]
