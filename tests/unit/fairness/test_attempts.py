"""Calls tried again count once; that every attempt is charged, `test_ledger` shows."""

from support.books import Books

from justitia_server.fairness.accounts import Account, ApplicationFacts, CallFacts
from justitia_server.fairness.attempts import Attempts


def account(seq=1):
    return Account(ApplicationFacts("a"), opened_at=0.0, arrival_seq=seq)


def test_a_first_attempt_leaves_no_trace_before_it_completes():
    """Most calls are never tried again."""
    attempts = Attempts()
    assert attempts.begin(account(), CallFacts("c")) == 0
    assert len(attempts) == 0


def test_an_attempt_makes_those_before_it_undone():
    """All samples of them, at once; its own samples do not undo each other."""
    attempts, of = Attempts(), account()
    for _ in range(3):
        attempts.begin(of, CallFacts("c"))
    for _ in range(3):
        assert attempts.complete(of, CallFacts("c"))
    assert [attempts.begin(of, CallFacts("c", 1)) for _ in range(3)] == [3, 0, 0]


def test_an_attempt_that_was_given_up_does_not_count():
    """It completes while the next one is under way."""
    attempts, of = Attempts(), account()
    attempts.begin(of, CallFacts("c", 1))
    assert not attempts.complete(of, CallFacts("c"))
    assert attempts.complete(of, CallFacts("c", 1))


def test_calls_that_are_named_alike_are_different_calls():
    """A retry undoes the latest only."""
    books = Books()
    for _ in range(3):
        books.complete(books.call("a", call_id="c"), 1)
    last = books.call("a", call_id="c", attempt=1)
    assert last.account.num_done == 2
    books.complete(last, 1)
    assert last.account.num_done == 3


def test_applications_do_not_meet():
    """Not even under one id, when one has ended."""
    attempts = Attempts()
    attempts.complete(account(1), CallFacts("c"))
    assert attempts.begin(account(2), CallFacts("c", 1)) == 0


def test_calls_without_an_id_are_counted_and_not_kept():
    """There is no telling whether one is another's next attempt."""
    attempts = Attempts()
    assert attempts.begin(account(), CallFacts(attempt=1)) == 0
    assert attempts.complete(account(), CallFacts(attempt=1))
    assert len(attempts) == 0


def test_what_is_kept_is_bounded():
    """The oldest is forgotten: tried again so late, it counts twice."""
    attempts, of = Attempts(most=2), account()
    for name in "abc":
        attempts.complete(of, CallFacts(name))
    assert len(attempts) == 2
    assert [attempts.begin(of, CallFacts(name, 1)) for name in "cba"] == [1, 1, 0]
