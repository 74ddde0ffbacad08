"""
Waiting for a tool or a person: a grace period, then out of the reference, in the end forgotten.

"rest" is an application so large that it never leaves; a call of it stays open, so that the server
is busy. The grace period is two seconds; an iteration lasts one.
"""

import pytest
from support.books import Books

from justitia_sdk.errors import ApplicationClosed
from justitia_server.fairness.accounts import ApplicationFacts, State


def with_rest(**options):
    books = Books(**{"idle_grace_s": 2.0, **options})
    books.keep_busy()
    return books


def waiting(books, *, received=50, given=25, cost=100.0):
    """
    Let a (cost 100) have received 50 while the reference gave it 25, and wait until it pauses.

    What V grows by in the grace period is none of the matter: rest gets what keeps them even.
    """
    account = books.spend("a", received, cost=cost).account
    books.spend("rest", 2 * given - received)
    books.now += 5
    books.step()
    assert account.is_paused
    return account


# -- the grace period --------------------------------------------------------------------


def test_within_grace_an_application_counts_as_going_on():
    """One second of two: the reference serves it on, beyond what it received."""
    books = with_rest()
    account = books.spend("a", 50, cost=100.0).account
    books.spend("rest", 70)
    assert not account.is_paused
    assert books.fair_finish("a") == 100
    assert books.virtual_time == 60


def test_with_grace_over_the_reference_gives_what_was_received_and_no_more():
    """Received 50 and given 25: it leaves at V = 50, and V grows twice as fast from there."""
    books = with_rest()
    waiting(books)
    assert (books.virtual_time, books.fair_finish("a")) == (25, 50)
    books.spend("rest", 49)
    assert "a" in books.ledger.reference
    assert books.ledger.reference.is_backlogged("a")
    books.spend("rest", 1)
    assert not books.ledger.reference.is_backlogged("a")
    books.spend("rest", 10)
    assert books.virtual_time == 60


def test_grace_begins_anew_with_every_call():
    """Two seconds from the end of the last."""
    books = with_rest()
    for _ in range(3):
        account = books.spend("a", 10).account
        books.step()
        assert not account.is_paused
    books.step()
    assert account.is_paused


def test_a_tools_word_does_not_renew_grace():
    """Events are no calls: whoever sends many is no less idle; others come and go meanwhile."""
    books = with_rest()
    account = books.spend("a", 10).account
    for _ in range(2):
        books.ledger.note_event("a", "tool_start", "search", books.now)
        books.spend("b", 10)
    assert account.is_paused


def test_no_grace_at_all():
    """Set to 0, an application pauses with the iteration in which its last call ends."""
    books = with_rest(idle_grace_s=0.0)
    assert books.spend("a", 10).account.is_paused


def test_an_announced_application_has_nothing_to_pause():
    """It is not in the reference yet."""
    books = with_rest()
    account = books.ledger.announce(ApplicationFacts("a"), books.now)
    books.now += 5
    books.step()
    assert not account.is_paused


def test_an_application_with_calls_is_not_idle():
    """Waiting for the server is not waiting for a tool."""
    books = with_rest()
    call = books.call("a")
    books.spend("a", 10)
    books.now += 5
    books.step()
    assert not call.account.is_paused


# -- waiting earns nothing and costs nothing ---------------------------------------------


@pytest.mark.parametrize("served_meanwhile", [0, 20, 50, 51, 1000])
def test_however_long_it_waited_it_comes_back_with_the_same_to_go(served_meanwhile):
    """
    Against one that never waited: the two stand equally far from V when they go on.

    The other one goes on when the reference has given it the 50 it received, if that is later.
    """
    books = with_rest()
    account = waiting(books)
    books.spend("rest", served_meanwhile)
    books.call("a")

    never = with_rest()
    twin = never.spend("a", 50, cost=100.0).account
    never.spend("rest", min(served_meanwhile, 50))
    assert account.virtual_finish - books.virtual_time == (twin.virtual_finish - never.virtual_time)
    assert books.ledger.fair_finish_in(account) == never.ledger.fair_finish_in(twin)


def test_one_that_waited_stands_like_one_that_comes_now_with_the_rest_of_its_work():
    """No credit for having been here before, and no loss of what is still to be done."""
    books = with_rest()
    account = waiting(books)
    books.spend("rest", 1000)
    books.call("a")
    newcomer = books.call("b", cost=50.0).account
    assert account.virtual_finish == newcomer.virtual_finish
    assert books.fair_finish("a") == books.fair_finish("b")


def test_one_that_waited_moves_by_the_growth_of_v_while_it_was_out():
    """It left at V = 50; V is 1000 when it is back: S and F are 950 later."""
    books = with_rest()
    account = waiting(books)
    books.spend("rest", 1000)
    assert books.virtual_time == 1000
    books.call("a")
    assert (account.virtual_start, account.virtual_finish) == (950, 1050)


def test_waiting_costs_nothing_of_what_the_reference_gave():
    """Given 60 and received 10 only: on its return the reference owes it 40, not 90."""
    books = with_rest()
    account = waiting(books, received=10, given=60)
    assert not books.ledger.reference.is_backlogged("a")
    books.spend("rest", 100)
    books.call("a")
    assert account.virtual_finish == books.virtual_time + 40


def test_others_do_not_wait_for_one_that_waits():
    """While it is out, the whole reference is theirs: their fair finish comes nearer."""
    books = with_rest()
    books.spend("a", 10, cost=1000.0)
    rest = books.ledger.find("rest")
    before = books.ledger.fair_finish_in(rest)
    books.now += 5
    books.step()
    assert books.ledger.fair_finish_in(rest) == before - (1000 - 10) / 1000


def test_others_are_placed_anew_when_one_pauses():
    """a's share is b's: t has paid for b sooner, and b goes before u's c."""
    books = Books(idle_grace_s=2.0)
    books.spend("a", 10, tenant="t", cost=100.0)
    books.call("b", tenant="t", cost=100.0)
    books.call("c", tenant="u", cost=150.0)
    assert books.queue.peek().account.app_id == "c"
    books.now += 5
    books.step()
    assert books.queue.peek().account.app_id == "b"


# -- late, under-predicted, ended --------------------------------------------------------


def test_one_that_was_late_comes_back_late():
    """
    The reference was done with it at V = 100, V_0 = 200, before it paused.

    Nothing moves, and it is owed as before.
    """
    books = with_rest()
    account = waiting(books, received=10, given=100)
    fair_finished_at = account.fair_finished_at
    assert fair_finished_at is not None
    books.spend("rest", 500)
    books.call("a")
    assert (account.virtual_start, account.virtual_finish) == (0, 100)
    assert account.tag.top_finish == 200
    assert account.fair_finished_at == fair_finished_at


def test_a_pause_dates_no_fair_finish_for_good():
    """Out of the reference while it waits, it is in it again when it calls."""
    books = with_rest()
    account = waiting(books, received=50, given=50)
    assert account.fair_finished_iteration is not None
    books.call("a")
    assert account.fair_finished_iteration is None


def test_one_that_received_more_than_was_predicted_is_given_that_while_it_waits():
    """
    Told 45, received 50, given 45: paused, it is in the reference again, for 5.

    Back before it has them, it is given no more, its prediction being used up.
    """
    books = with_rest()
    account = books.spend("a", 50, cost=45.0).account
    books.spend("rest", 60)
    assert account.fair_finished_iteration is not None
    books.now += 5
    books.step()
    assert books.ledger.reference.is_backlogged("a")
    assert account.fair_finished_iteration is None
    books.spend("rest", 4)
    books.call("a")
    assert not books.ledger.reference.is_backlogged("a")
    assert account.fair_finished_iteration == books.ledger.iteration


def test_one_that_ends_while_it_waits_is_settled_with_what_it_used():
    """Paused or not, it is given 50."""
    books = with_rest()
    waiting(books)
    books.ledger.finish("a", books.now)
    assert books.fair_finish("a") == 50
    books.spend("rest", 50)
    assert "a" not in books.ledger.reference


def test_one_revised_while_it_waits_comes_back_with_the_new_cost():
    """Still given 50 meanwhile; 30 to go when it is back."""
    books = with_rest()
    account = waiting(books)
    books.ledger.revise("a", 80.0, books.now)
    assert books.fair_finish("a") == 50
    books.spend("rest", 200)
    books.call("a")
    assert books.fair_finish("a") == account.virtual_finish == books.virtual_time + 30


# -- the idle timeout --------------------------------------------------------------------


def test_an_idle_application_expires():
    """After the timeout, not before, and as of its last call."""
    books = Books(idle_timeout_s=60.0)
    account = books.spend("a", 10).account
    books.now += 59
    assert books.ledger.expire(books.now) == []
    books.now += 1
    assert books.ledger.expire(books.now) == ["a"]
    assert (account.state, account.end_reason) == (State.FINISHED, "idle_timeout")
    assert (account.finished_at, books.ledger.num_expired) == (1.0, 1)
    assert not books.ledger.in_flight


def test_applications_expire_in_the_order_they_were_active():
    """Those idle for long enough, and no others."""
    books = Books(idle_timeout_s=60.0)
    for name in "abc":
        books.spend(name, 10)
    books.call("a")
    books.now += 60
    assert books.ledger.expire(books.now - 1) == ["b"]
    assert books.ledger.expire(books.now) == ["c"]
    assert list(books.ledger.in_flight) == ["a"]


def test_a_returning_application_does_not_expire():
    """A new call within the timeout keeps it; the timeout begins anew after it."""
    books = Books(idle_timeout_s=60.0)
    for _ in range(3):
        books.spend("a", 10)
        books.now += 59
        assert books.ledger.expire(books.now) == []


def test_a_tools_word_keeps_an_application():
    """An event is a sign of life, for one that is announced only, too."""
    books = Books(idle_timeout_s=60.0)
    books.spend("a", 10)
    books.ledger.announce(ApplicationFacts("b"), books.now)
    for _ in range(3):
        books.now += 50
        for name in "ab":
            books.ledger.note_event(name, "tool_start", "search", books.now)
    assert books.ledger.expire(books.now) == []
    books.now += 60
    assert books.ledger.expire(books.now) == ["a", "b"]


def told_of_a_tool(expected_s, **more):
    """Return books in which "a" has been at a tool since t = 1, b is idle, and a's account."""
    books = Books(idle_timeout_s=60.0)
    for name in "ab":
        books.end(books.call(name))
    books.now += 1
    books.ledger.note_event("a", "tool_start", "search", books.now, expected_s=expected_s)
    return books, books.ledger.find("a")


def expired_at(books, seconds):
    books.now = seconds
    return books.ledger.expire(seconds)


@pytest.mark.parametrize(("expected_s", "end"), [(5, 66), (600, 661), (1e9, 86_461)])
def test_the_timeout_begins_when_a_tool_is_expected_to_have_ended(expected_s, end):
    """A day after its start at most; the others' begins as ever."""
    books, account = told_of_a_tool(expected_s)
    assert expired_at(books, 60) == ["b"]
    assert expired_at(books, end - 1) == []
    assert expired_at(books, end) == ["a"]
    assert account.end_reason == "idle_timeout"


def test_of_several_tools_the_last_to_end_counts():
    """Until all have ended; then the timeout begins."""
    books, _ = told_of_a_tool(100.0)
    books.ledger.note_event("a", "tool_start", "ask", books.now, expected_s=300.0)
    books.ledger.note_event("a", "tool_start", "look", books.now)
    books.now = 90.0
    for name in ("search", "look"):
        books.ledger.note_event("a", "tool_end", name, books.now)
    assert expired_at(books, 360) == ["b"]
    assert expired_at(books, 361) == ["a"]


def test_a_tool_that_ends_early_leaves_the_usual_timeout():
    """Whatever had been expected."""
    books, _ = told_of_a_tool(600.0)
    books.now = 10.0
    books.ledger.note_event("a", "tool_end", "search", books.now)
    assert expired_at(books, 69) == ["b"]
    assert expired_at(books, 70) == ["a"]


def test_a_sign_of_life_after_the_expected_end_begins_the_timeout_anew():
    """The tool is late, and its application still says something."""
    books, _ = told_of_a_tool(100.0)
    books.now = 150.0
    books.ledger.note_event("a", "stage", "write", books.now)
    assert expired_at(books, 209) == ["b"]
    assert expired_at(books, 210) == ["a"]


def test_a_call_during_a_tool_does_not_end_what_is_expected_of_it():
    """A tool may call; between its calls it is at work all the same."""
    books, account = told_of_a_tool(600.0)
    books.now = 50.0
    books.end(books.call("a"))
    assert "a" in books.ledger.idle
    assert expired_at(books, 600) == ["b"]
    books.now = 605.0
    call = books.call("a")
    assert expired_at(books, 700) == []
    books.end(call)
    assert account.last_active_at == 700
    assert expired_at(books, 760) == ["a"]


def test_an_application_at_a_tool_may_be_finished():
    """It is gone from wherever it was."""
    books, _ = told_of_a_tool(600.0)
    books.ledger.finish("a", books.now)
    assert "a" not in books.ledger.idle
    assert expired_at(books, 10_000) == ["b"]


def test_a_tools_word_for_one_keeps_no_other():
    """b was idle after a; a's tool has been heard of since."""
    books = Books(idle_timeout_s=60.0)
    for name in "ab":
        books.spend(name, 10)
    books.now += 50
    books.ledger.note_event("a", "tool_start", "search", books.now)
    books.now += 10
    assert books.ledger.expire(books.now) == ["b"]


def test_an_announced_application_that_never_comes_leaves_no_trace():
    """It expires without having arrived."""
    books = Books(idle_timeout_s=60.0)
    books.ledger.announce(ApplicationFacts("a"), books.now)
    books.now += 61
    assert books.ledger.expire(books.now) == ["a"]
    assert not books.ledger.in_flight
    assert not books.ledger.finished
    assert "a" not in books.ledger.reference


def test_one_that_has_expired_is_over():
    """Its client may call again, and is served under a new account."""
    books = Books(idle_timeout_s=60.0)
    books.spend("a", 10)
    books.now += 60
    books.ledger.expire(books.now)
    with pytest.raises(ApplicationClosed):
        books.ledger.finish("a", books.now)
    assert books.call("a").account.num_late == 1


def test_a_server_left_alone_forgets_everybody():
    """With the last idle application gone, the reference and the maxima of the bound begin anew."""
    books = Books(idle_timeout_s=60.0)
    books.spend("a", 50, cost=100.0)
    assert books.ledger.busy_period.longest_call == 1
    books.now += 60
    books.ledger.expire(books.now)
    assert "a" not in books.ledger.reference
    assert books.ledger.busy_period.longest_call == 0
