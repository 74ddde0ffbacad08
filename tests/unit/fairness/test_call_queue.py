"""The waiting calls in a policy's order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import AccountingError
from justitia_server.fairness.accounts import Account, ApplicationFacts, Call, CallFacts
from justitia_server.fairness.call_queue import CallQueue
from justitia_server.fairness.policies.registry import POLICIES, make_policy


def account(name, finish=0.0, seq=0):
    made = Account(ApplicationFacts(name), opened_at=0.0)
    made.virtual_finish, made.arrival_seq = finish, seq
    return made


def call(owner, seq, stage=0):
    return Call(f"r{seq}", owner, CallFacts(stage_index=stage), seq, num_prompt_tokens=1)


def drained(queue):
    return [queue.pop() for _ in range(len(queue))]


def test_applications_go_by_virtual_finish_and_calls_by_stage_then_arrival():
    """One application's calls come together; the smaller F first."""
    late, early = account("late", 9.0, 1), account("early", 3.0, 2)
    calls = [call(late, 1), call(early, 2, stage=1), call(late, 3), call(early, 4)]
    queue = CallQueue(make_policy("justitia"))
    for each in calls:
        queue.add(each)
    assert drained(queue) == [calls[3], calls[1], calls[0], calls[2]]


def test_a_fallen_key_is_seen_after_refresh():
    """An application whose F falls while it waits moves ahead."""
    first, second = account("first", 5.0, 1), account("second", 8.0, 2)
    queue = CallQueue(make_policy("justitia"))
    for each in (call(first, 1), call(second, 2)):
        queue.add(each)
    second.virtual_finish = 1.0
    queue.refresh(second)
    assert queue.peek().account is second


def test_a_grown_key_is_seen_by_itself():
    """An application whose F grows while it waits falls behind."""
    first, second = account("first", 5.0, 1), account("second", 8.0, 2)
    queue = CallQueue(make_policy("justitia"))
    for each in (call(first, 1), call(second, 2)):
        queue.add(each)
    first.virtual_finish = 10.0
    assert queue.peek().account is second


def test_a_call_waits_once():
    """Adding a waiting call again is refused."""
    queue, one = CallQueue(make_policy("fcfs")), call(account("a"), 1)
    queue.add(one)
    with pytest.raises(AccountingError, match="waits already"):
        queue.add(one)


def test_removing_from_the_other_queue_changes_nothing():
    """vLLM removes a request from both of its queues; only one holds it."""
    policy = make_policy("justitia")
    here, there, one = CallQueue(policy), CallQueue(policy), call(account("a"), 1)
    here.add(one)
    there.remove(one)
    assert len(here) == 1
    assert one.account.num_waiting == 1


def test_an_empty_queue_has_nothing_to_peek():
    """As vLLM's own queues, peeking nothing is an IndexError."""
    with pytest.raises(IndexError):
        CallQueue(make_policy("fcfs")).peek()


operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "pop", "return", "remove", "fall", "grow"]),
        st.integers(0, 4),
        st.integers(0, 3),
        st.floats(0, 100),
    ),
    max_size=80,
)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(operations=operations)
def test_order_equals_sorting_all_waiting_calls(name, operations):
    """Whatever happens to calls and keys, the head is the smallest key; counts agree."""
    policy = make_policy(name)
    queue, waiting, popped = CallQueue(policy), [], []
    accounts = [account(f"app{index}", 50.0, index) for index in range(5)]
    for seq, (what, which, stage, finish) in enumerate(operations):
        owner = accounts[which]
        if what == "add":
            waiting.append(call(owner, seq, stage))
            queue.add(waiting[-1])
        elif what == "pop" and waiting:
            popped.append(queue.pop())
            assert popped[-1] == min(waiting, key=policy.order)
            waiting.remove(popped[-1])
        elif what == "return" and popped:
            waiting.append(popped.pop())
            queue.add(waiting[-1])
        elif what == "remove" and waiting:
            queue.remove(waiting.pop(which % len(waiting)))
        elif what == "fall":
            owner.virtual_finish = min(owner.virtual_finish, finish)
            queue.refresh(owner)
        elif what == "grow":
            owner.virtual_finish = max(owner.virtual_finish, finish)
        assert len(queue) == len(waiting) == sum(each.num_waiting for each in accounts)
        assert list(queue) == sorted(waiting, key=policy.order)
    assert drained(queue) == sorted(waiting, key=policy.order)
