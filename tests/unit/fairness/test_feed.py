"""What feeds the reference: service delivered, or M an iteration."""

from support.books import Books

from justitia_server.fairness.feed import DeliveredFeed, NominalFeed
from justitia_server.fairness.policies.registry import POLICIES, make_policy


def test_delivered_is_what_was_charged():
    """Once; iterations are none of its business."""
    feed = DeliveredFeed()
    feed.pending += 30
    feed.num_iterations += 1
    feed.pending += 12
    assert (feed.take(), feed.take()) == (42, 0)


def test_delivered_is_at_most_what_was_and_what_may_be_charged():
    """Nothing is taken by asking."""
    feed = DeliveredFeed()
    feed.pending += 30
    assert feed.most(12) == 42
    assert feed.take() == 30


def test_room_is_what_may_still_be_charged():
    """42 less 30; the nominal clock goes on whatever is charged, so no room is safe there."""
    delivered, nominal = DeliveredFeed(), NominalFeed(100)
    for feed in (delivered, nominal):
        feed.pending += 30
    assert (delivered.room(42), nominal.room(42)) == (12, 0)


def test_nominal_is_the_capacity_of_every_iteration():
    """Once, whatever was charged."""
    feed = NominalFeed(100)
    feed.pending += 7
    for _ in range(3):
        feed.num_iterations += 1
    assert (feed.take(), feed.take(), feed.pending) == (300, 0, 0)


def test_nominal_is_at_most_the_iterations_ended_and_the_one_under_way():
    """Whatever is not charged yet."""
    feed = NominalFeed(100)
    feed.num_iterations += 1
    assert feed.most(12_345) == 200


def test_one_policy_of_the_paper_is_nominal_and_all_others_are_delivered():
    """The clock is the policy's choice."""
    clocks = {name: make_policy(name).clock for name in POLICIES}
    assert clocks.pop("justitia_nominal") == "nominal"
    assert set(clocks.values()) == {"delivered"}


def test_books_are_fed_by_the_clock_of_their_policy():
    """10 delivered by a server of capacity 1000: V grows by 10, or by 1000."""
    for policy, virtual_time in [("justitia", 10), ("justitia_nominal", 1000)]:
        books = Books(policy)
        books.call("rest", cost=1e6)
        books.spend("rest", 10)
        assert (books.ledger.feed.name, books.virtual_time) == (
            books.policy.clock, virtual_time,
        )  # fmt: skip


def test_an_iteration_that_delivers_nothing_counts_for_the_nominal_clock():
    """A prefill, say; read or skipped."""
    for policy, virtual_time in [("justitia", 0), ("justitia_nominal", 3000)]:
        books = Books(policy)
        books.call("rest", cost=1e6)
        books.step()
        books.ledger.skip_iterations(1)
        books.ledger.skip_iterations(1)
        assert books.virtual_time == virtual_time


def test_the_delivered_reference_is_empty_when_the_server_is():
    """With true costs; the nominal one has given everything away long before."""
    backlogged = {}
    for policy in ("justitia", "justitia_nominal"):
        books = Books(policy, capacity=100)
        calls = [books.call(name, prompt=19, cost=20.0 + 21, last=True) for name in "ab"]
        backlogged[policy] = [len(books.ledger.reference)]
        for call in calls:
            books.complete(call, 2)
            backlogged[policy].append(len(books.ledger.reference))
    assert backlogged == {"justitia": [2, 2, 0], "justitia_nominal": [2, 0, 0]}
