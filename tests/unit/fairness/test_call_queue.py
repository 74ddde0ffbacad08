"""The waiting calls in a policy's order."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.books import KINDS, Books, Life

from justitia_sdk.errors import AccountingError
from justitia_server.fairness.accounts import Account, ApplicationFacts, Call, CallFacts
from justitia_server.fairness.call_queue import CallQueue
from justitia_server.fairness.policies.base import BasePolicy
from justitia_server.fairness.policies.justitia import Justitia
from justitia_server.fairness.policies.registry import POLICIES, make_policy


class ByRank(BasePolicy):
    """Applications in tenants, both in the order of numbers set by hand."""

    def __init__(self):
        self.ranks = {}  # of applications, by depth

    def groups(self, account):
        return (account.facts.tenant, account.app_id)

    def key(self, call, depth):
        if depth == 2:
            return (call.facts.stage_index, call.arrival_seq)
        return (self.ranks.get((call.account.app_id, depth), 0), call.account.arrival_seq)


def application(name, seq=0, tenant="t"):
    account = Account(ApplicationFacts(name, tenant=tenant), opened_at=0.0)
    account.arrival_seq = seq
    return account


def call(account, seq, stage=0):
    return Call(f"r{seq}", account, CallFacts(stage_index=stage), seq, num_prompt_tokens=1)


def queue_of(policy, *calls):
    queue = CallQueue(policy)
    for each in calls:
        queue.add(each)
    return queue


def drained(queue):
    return [queue.pop() for _ in range(len(queue))]


def head_by_brute_force(policy, calls, depth=0):
    """Look at every call: a group stands where its own first call puts it."""
    if depth == len(policy.groups(calls[0].account)):
        return min(calls, key=lambda call: policy.key(call, depth))
    groups = {}
    for each in calls:
        groups.setdefault(policy.groups(each.account)[depth], []).append(each)
    heads = [head_by_brute_force(policy, group, depth + 1) for group in groups.values()]
    return min(heads, key=lambda call: policy.key(call, depth))


def in_order_by_brute_force(policy, calls):
    """Serve them all, as things stand now."""
    left, order = list(calls), []
    while left:
        order.append(head_by_brute_force(policy, left))
        left.remove(order[-1])
    return order


# -- the tree ----------------------------------------------------------------------------


def test_a_group_comes_together_and_stands_where_its_first_call_puts_it():
    """Applications by rank; the calls of one by stage, then arrival."""
    policy = ByRank()
    one, two = application("one", 1), application("two", 2)
    policy.ranks = {("one", 1): 9, ("two", 1): 3}
    calls = [call(one, 1), call(two, 2, stage=1), call(one, 3), call(two, 4)]
    assert drained(queue_of(policy, *calls)) == [calls[3], calls[1], calls[0], calls[2]]


def test_a_tenant_stands_where_its_first_application_puts_it():
    """In t the rank at depth 1 decides who is first; t's place is that one's rank at depth 0."""
    policy = ByRank()
    a, b, c = application("a", 1), application("b", 2), application("c", 3, tenant="u")
    policy.ranks = {("a", 1): 5, ("a", 0): 0, ("b", 1): 2, ("b", 0): 8, ("c", 0): 4}
    queue = queue_of(policy, call(a, 1), call(b, 2), call(c, 3))
    assert [each.account for each in drained(queue)] == [c, b, a]


def test_a_policy_without_groups_orders_the_calls_themselves():
    """First come, first served, whoever they belong to."""
    calls = [call(application(name), seq) for seq, name in enumerate("abab")]
    assert drained(queue_of(make_policy("fcfs"), *reversed(calls))) == calls


def test_iterating_goes_group_by_group_and_takes_nothing():
    """All waiting calls are seen, those removed are not, and they wait as before."""
    policy = ByRank()
    a, b, c = application("a", 1), application("b", 2), application("c", 3, tenant="u")
    policy.ranks = {("a", 1): 1, ("b", 1): 0, ("c", 0): -1}
    calls = [call(a, 1), call(b, 2), call(c, 3), call(a, 4), call(b, 5)]
    queue = queue_of(policy, *calls)
    queue.remove(calls[4])
    assert list(queue) == [calls[2], calls[1], calls[0], calls[3]]
    assert len(queue) == 4


def test_a_queue_that_never_held_a_call_is_empty():
    """Nothing to iterate, to count, or to refresh."""
    queue = CallQueue(make_policy("justitia"))
    queue.refresh(application("a"))
    assert (list(queue), len(queue)) == ([], 0)


# -- keys that change --------------------------------------------------------------------


def test_a_fallen_key_is_seen_after_refresh():
    """An application whose key falls while it waits moves ahead."""
    policy = ByRank()
    policy.ranks = {("first", 1): 5, ("second", 1): 8}
    second = application("second", 2)
    queue = queue_of(policy, call(application("first", 1), 1), call(second, 2))
    assert queue.peek().account is not second
    policy.ranks["second", 1] = 1
    queue.refresh(second)
    assert queue.peek().account is second


def test_a_grown_key_is_seen_by_itself():
    """An application whose key grows while it waits falls behind, untold."""
    policy = ByRank()
    policy.ranks = {("first", 1): 5, ("second", 1): 8}
    second = application("second", 2)
    queue = queue_of(policy, call(application("first", 1), 1), call(second, 2))
    assert queue.peek().account is not second
    policy.ranks["first", 1] = 10
    assert queue.peek().account is second


def test_a_key_that_fell_while_its_group_was_alone_is_remembered():
    """With one group no key is looked at; the next group to come is compared rightly."""
    policy = ByRank()
    policy.ranks = {("alone", 1): 5, ("next", 1): 3, ("gone", 1): 9}
    alone, gone = call(application("alone", 1), 1), call(application("gone", 2), 2)
    queue = queue_of(policy, alone, gone)
    assert queue.peek() is alone  # entered at 5
    queue.remove(gone)
    policy.ranks["alone", 1] = 1
    queue.refresh(alone.account)
    assert queue.peek() is alone
    queue.add(call(application("next", 3), 3))
    assert queue.peek() is alone


def test_a_key_that_falls_with_its_first_call_is_seen():
    """a's first by stage came after b, its other call before: without the first, a goes first."""
    policy = make_policy("las")
    books = Books(policy)
    books.call("a", stage_index=1)
    books.call("b")
    first = books.call("a", stage_index=0)
    assert books.queue.peek().account.app_id == "b"
    books.end(first, completed=False)
    assert books.queue.peek().account.app_id == "a"


def test_a_fall_in_one_tenant_is_seen_among_tenants():
    """A refresh of an application is one of its tenant, waiting or not."""
    policy = ByRank()
    policy.ranks = {("a", 0): 5, ("c", 0): 4}
    a, other = application("a", 1), application("other", 2)
    queue = queue_of(policy, call(a, 1), call(application("c", 3, tenant="u"), 3))
    assert queue.peek().account is not a
    policy.ranks["a", 0] = 1
    queue.refresh(other)  # of the same tenant; has nothing waiting
    assert queue.peek().account is a


# -- in and out --------------------------------------------------------------------------


def test_a_call_waits_once():
    """Adding a waiting call again is refused, to this queue or to another."""
    policy = make_policy("fcfs")
    here, there, one = CallQueue(policy), CallQueue(policy), call(application("a"), 1)
    here.add(one)
    for queue in (here, there):
        with pytest.raises(AccountingError, match="waits already"):
            queue.add(one)


def test_removing_from_the_other_queue_changes_nothing():
    """vLLM removes a request from both of its queues; only one holds it."""
    policy = ByRank()
    here, there, one = CallQueue(policy), CallQueue(policy), call(application("a"), 1)
    here.add(one)
    there.remove(one)
    assert len(here) == 1
    assert one.account.num_waiting == 1


def test_a_call_may_move_between_queues_and_back():
    """Out of the middle of one, into the other and back, it waits once and in its old place."""
    policy = ByRank()
    owner = application("a")
    calls = [call(owner, seq) for seq in range(3)]
    here, there = queue_of(policy, *calls), CallQueue(policy)
    here.remove(calls[1])
    there.add(calls[1])
    assert list(here) == [calls[0], calls[2]]
    there.remove(calls[1])
    here.add(calls[1])
    assert (len(here), len(there), owner.num_waiting) == (3, 0, 3)
    assert drained(here) == calls


def test_an_empty_queue_has_nothing_to_peek():
    """As vLLM's own queues, peeking nothing is an IndexError, before and after the first call."""
    queue = CallQueue(ByRank())
    with pytest.raises(IndexError):
        queue.peek()
    queue.add(call(application("a"), 1))
    queue.pop()
    with pytest.raises(IndexError):
        queue.pop()


def test_a_call_alone_is_overtaken_by_a_second():
    """It waited before there was anything to compare it with; either way round."""
    policy = ByRank()
    one, two = application("one", 1), application("two", 2)
    policy.ranks = {("one", 1): 9, ("two", 1): 3}
    calls = [call(one, 1), call(two, 2)]
    for first, second in (calls, calls[::-1]):
        queue = queue_of(policy, first)
        assert list(queue) == [queue.peek()] == [first]
        queue.add(second)
        assert list(queue) == drained(queue) == calls[::-1]


def test_a_call_alone_that_goes_is_gone():
    """Removed or popped, nothing waits."""
    queue, only = CallQueue(ByRank()), call(application("a"), 1)
    for leave in (lambda: queue.remove(only), queue.pop):
        queue.add(only)
        leave()
        assert (len(queue), list(queue)) == (0, [])
        with pytest.raises(IndexError):
            queue.peek()


def test_what_is_removed_is_not_kept():
    """However many applications and calls have passed through, nothing is left of them."""
    policy = ByRank()
    queue = queue_of(policy, *(call(application("stays", 0), seq) for seq in range(2)))
    for seq in range(2, 1000):
        passing = call(application(f"passes{seq}", seq), seq)
        policy.ranks[f"passes{seq}", 1] = seq % 7
        queue.add(passing)
        queue.peek()
        queue.remove(passing)
    (tenant,) = queue._root.groups.values()
    assert list(tenant.groups) == list(tenant.keys) == ["stays"]
    assert len(tenant.entries) <= 70
    assert len(tenant.groups["stays"].entries) == 2


def test_a_long_line_of_aborted_calls_is_not_kept():
    """Removed from the back of one application, they do not stay in its heap."""
    queue, owner = CallQueue(ByRank()), application("a")
    queue.add(call(owner, 0))
    for seq in range(1, 200):
        queue.add(aborted := call(owner, seq))
        queue.remove(aborted)
    assert len(queue._root.groups["t"].groups["a"].entries) <= 20


def test_a_call_that_comes_and_goes_is_kept_once():
    """Behind another, which stays in front of it."""
    queue, owner = CallQueue(ByRank()), application("a")
    first, second = call(owner, 0), call(owner, 1)
    for each in (first, second):
        queue.add(each)
    for _ in range(100):
        queue.remove(second)
        queue.add(second)
    assert len(queue._root.groups["t"].groups["a"].entries) <= 21
    assert drained(queue) == [first, second]


# -- cost --------------------------------------------------------------------------------


class Counting(Justitia):
    """Counts how often it is asked for a key."""

    num_asked = 0

    def key(self, call, depth):
        self.num_asked += 1
        return super().key(call, depth)


def test_an_event_asks_for_few_keys_however_many_wait():
    """Looking at the head again, a revision, and one more call, among a thousand applications."""
    policy = Counting()
    books = Books(policy)
    for number in range(1000):
        books.call(f"a{number}", tenant=f"t{number % 10}", cost=100.0 + number)
    asked = []

    def ask(event):
        before = policy.num_asked
        event()
        books.queue.peek()
        asked.append(policy.num_asked - before)

    books.queue.peek()
    ask(lambda: None)
    ask(lambda: books.ledger.revise("a999", 50.0, books.now))
    ask(lambda: books.call("new", tenant="t5", cost=1.0))
    assert max(asked) <= 8


# -- against brute force -----------------------------------------------------------------


ranks = st.lists(
    st.tuples(
        st.sampled_from(["add", "pop", "return", "remove", "fall", "grow", "peek"]),
        st.integers(0, 4),
        st.integers(0, 3),
        st.integers(0, 9),
    ),
    max_size=60,
)


@given(events=ranks)
@settings(deadline=None)
def test_the_head_is_the_least_whatever_happens_to_ranks(events):
    """Falls are told, growth is not; calls come, go, come back; counts agree."""
    policy = ByRank()
    queue, waiting, popped = CallQueue(policy), [], []
    owners = [application(f"a{index}", index) for index in range(5)]
    for seq, (what, which, stage, rank) in enumerate(events):
        owner, before = owners[which], policy.ranks.get((f"a{which}", 1), 0)
        if what == "add":
            waiting.append(call(owner, seq, stage))
            queue.add(waiting[-1])
        elif what == "pop" and waiting:
            popped.append(queue.pop())
            assert popped[-1] is head_by_brute_force(policy, waiting)
            waiting.remove(popped[-1])
        elif what == "return" and popped:
            waiting.append(popped.pop())
            queue.add(waiting[-1])
        elif what == "remove" and waiting:
            queue.remove(waiting.pop(which % len(waiting)))
        elif what == "fall":
            policy.ranks[f"a{which}", 1] = before - rank
            queue.refresh(owner)
        elif what == "grow":
            policy.ranks[f"a{which}", 1] = before + rank
        elif what == "peek" and waiting:
            assert queue.peek() is head_by_brute_force(policy, waiting)
        assert len(queue) == len(waiting) == sum(each.num_waiting for each in owners)
    assert list(queue) == in_order_by_brute_force(policy, waiting)
    assert drained(queue) == in_order_by_brute_force(policy, waiting)


lives = st.lists(
    st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(1, 40)), max_size=40
)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(events=lives)
@settings(deadline=None, max_examples=60)
def test_the_head_is_the_least_whatever_happens_to_applications(name, events):
    """Through real books: several tenants, tags that move, calls that come back, ends, waits."""
    life = Life(name)
    for event in events:
        life.happen(*event)
        if life.waiting:
            expected = head_by_brute_force(life.books.policy, life.waiting)
            assert life.books.queue.peek() is expected
        assert len(life.books.queue) == len(life.waiting)
    order = in_order_by_brute_force(life.books.policy, life.waiting)
    assert drained(life.books.queue) == order
