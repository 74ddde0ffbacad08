"""
Wrong predictions: revised on the way, settled at the end, and paid for by the tenant.

"rest" is an application so large that it never leaves; a call of it stays open, so that the server
is busy. With two backlogged V grows by half the service, whoever is served.
"""

import math

import pytest
from support.books import Books

from justitia_sdk.errors import AccountingError
from justitia_server.fairness.policies.base import precedes
from justitia_server.fairness.promises import GUARD_FACTOR


def with_rest(**options):
    books = Books(**options)
    books.keep_busy()
    return books


# -- revisions ---------------------------------------------------------------------------


def test_the_reference_follows_every_revision():
    """Up and down; so does what is shown as the prediction."""
    books = with_rest()
    account = books.call("a", cost=100.0).account
    for cost in (60.0, 200.0, 90.0):
        books.ledger.revise("a", cost, books.now)
        assert (books.fair_finish("a"), account.predicted_cost) == (cost, cost)


def test_the_order_follows_downward_revisions_only():
    """Up again, the tag stays; down once more, but not below it, too."""
    books = with_rest()
    account = books.call("a", cost=100.0, weight=2.0).account
    finishes = []
    for cost in (60.0, 200.0, 90.0, 40.0):
        followed = books.ledger.revise("a", cost, books.now)
        finishes.append((followed, account.virtual_finish))
    assert finishes == [(True, 30), (False, 30), (False, 30), (True, 20)]


def test_the_order_follows_both_ways_where_it_is_told_to():
    """As an option of the books."""
    books = with_rest(follow_up=True)
    account = books.call("a", cost=100.0).account
    assert books.ledger.revise("a", 200.0, books.now) is True
    assert account.virtual_finish == 200


def test_one_revision_may_move_the_order_up():
    """What a scout call reveals counts either way, whatever the option says."""
    books = with_rest()
    account = books.call("a", cost=100.0, is_scout=True).account
    assert books.ledger.revise("a", 200.0, books.now, both_ways=True) is True
    assert account.virtual_finish == 200
    assert books.ledger.revise("a", 300.0, books.now) is False


def test_the_start_stays_however_often_an_application_is_revised():
    """F = S + C / w, with S at its arrival and not at the revision."""
    books = with_rest()
    books.spend("rest", 40)
    account = books.call("a", cost=100.0).account
    books.spend("rest", 60)
    books.ledger.revise("a", 80.0, books.now)
    assert (account.virtual_start, account.virtual_finish) == (40, 120)


def test_waiting_calls_follow_at_once():
    """Found cheap, an application's calls go before those that were before it."""
    books = Books()
    first, second = books.call("a", cost=100.0), books.call("b", cost=200.0)
    assert books.queue.peek() is first
    books.ledger.revise("b", 50.0, books.now)
    assert books.queue.peek() is second


def test_waiting_calls_of_a_tenant_follow_when_another_of_its_applications_shrinks():
    """a2 shrinks before a1 and so pays the share of t earlier: a1 overtakes u's b."""
    books = Books()
    books.call("a1", tenant="t", cost=100.0)
    second = books.call("a2", tenant="t", cost=100.0)
    books.call("b", tenant="u", cost=150.0)
    books.admit(second)  # a2 has nothing waiting
    assert books.queue.peek().account.app_id == "b"
    books.ledger.revise("a2", 20.0, books.now)
    assert books.queue.peek().account.app_id == "a1"


def test_running_calls_follow_as_victims():
    """The one that gives up its memory is found by the tags as they stand."""
    books = Books()
    a, b = books.call("a", cost=100.0), books.call("b", cost=200.0)
    for call in (a, b):
        books.admit(call)
    assert precedes(books.policy, a, b)
    books.ledger.revise("b", 50.0, books.now)
    assert precedes(books.policy, b, a)


def test_one_that_has_left_comes_back_for_what_is_missing():
    """a (10) left at V = 10 and is found to cost 25: F = V + 15, its fair finish is open again."""
    books = with_rest()
    account = books.call("a", cost=10.0).account
    books.spend("rest", 50)
    assert (books.virtual_time, account.fair_finished_iteration) == (40, 0)
    books.ledger.revise("a", 25.0, books.now)
    assert books.fair_finish("a") == 55
    assert (account.fair_finished_iteration, account.fair_finished_at) == (None, None)
    books.spend("rest", 30)
    assert (account.fair_finished_iteration, account.fair_finished_at) == (1, 2.0)


def test_one_found_over_served_leaves_at_once_and_gives_nothing_back():
    """Given 60 and found to cost 50: it leaves now; rest was given 60, not 70."""
    books = with_rest()
    account = books.call("a", cost=100.0).account
    books.spend("rest", 120)
    books.ledger.revise("a", 50.0, books.now)
    assert account.fair_finished_iteration == books.ledger.iteration
    assert books.virtual_time == 60
    books.spend("rest", 10)
    assert books.virtual_time == 70


def test_a_revision_counts_service_not_read_yet():
    """What the engine has delivered is fed before the cost changes."""
    books = with_rest()
    call = books.call("a", prompt=119, cost=100.0)
    books.ledger.read_all = lambda: books.ledger.deliver(call, 1)
    books.ledger.revise("a", 50.0, books.now)
    assert books.virtual_time == 60


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_a_nonsense_revision_is_refused_and_changes_nothing(cost):
    """Neither reference nor order nor what is shown."""
    books = with_rest()
    account = books.call("a", cost=100.0).account
    with pytest.raises(AccountingError, match="cost"):
        books.ledger.revise("a", cost, books.now)
    assert (books.fair_finish("a"), account.virtual_finish, account.predicted_cost) == (100,) * 3


def test_only_what_is_in_flight_is_revised():
    """Neither the unknown nor the finished."""
    books = with_rest()
    books.spend("a", 10, last=True)
    for app_id in ("ghost", "a"):
        with pytest.raises(AccountingError, match="not in flight"):
            books.ledger.revise(app_id, 5.0, books.now)


# -- the end -----------------------------------------------------------------------------


def test_an_early_finisher_is_settled_later():
    """
    a (40) is served first: done when the reference has given it 20, which needs 40 more.

    Until then its fair finish is provisional, and it still shares the reference.
    """
    books = with_rest()
    account = books.spend("a", 40, cost=40.0, last=True).account
    assert (books.ledger.num_settling, account.lateness_iterations) == (1, None)
    books.spend("rest", 39)
    assert account.fair_finished_iteration is None
    books.spend("rest", 1)
    assert (books.ledger.num_settling, "a" in books.ledger.reference) == (0, False)
    assert (account.lateness_iterations, account.lateness_s) == (-2, -2)


def test_an_over_predicted_application_settles_with_what_it_used():
    """Told 1000, used 40: the reference gives it 40."""
    books = with_rest()
    account = books.spend("a", 40, cost=1000.0, last=True).account
    books.spend("rest", 40)
    assert account.fair_finished_iteration == 1


def test_an_under_predicted_application_comes_back_for_what_it_used():
    """
    Told 10, used 40: it left at V = 10 and is in the reference again, for 30 more.

    V was 10 + 20 when it ended; 60 for the two of them bring it to 60.
    """
    books = with_rest()
    account = books.spend("a", 40, cost=10.0, last=True).account
    assert (books.virtual_time, books.fair_finish("a")) == (30, 60)
    assert account.fair_finished_iteration is None
    books.spend("rest", 60)
    assert account.fair_finished_iteration == 1


def test_an_over_served_application_leaves_with_its_end():
    """Given 60 by the reference, it used 10: its fair finish is now, and 50 are lost to rest."""
    books = with_rest()
    call = books.call("a", prompt=9, cost=100.0, last=True)
    books.spend("rest", 110)
    books.complete(call, 1)
    account = call.account
    assert (books.virtual_time, "a" in books.ledger.reference) == (60, False)
    assert (account.fair_finished_iteration, account.lateness_iterations) == (1, 0)


def test_virtual_time_stands_still_while_the_reference_is_empty():
    """a (90) alone uses 101: V stops at 90, and the next arrival starts there."""
    books = Books()
    call = books.call("a", prompt=49, cost=90.0)
    books.step(call)
    books.step(call)
    assert books.call("b").account.virtual_start == 90


def test_the_finished_leave_the_reference_with_the_last_call():
    """
    A server without calls owes nobody anything.

    b comes when a is done with; with b in the server, a would still be settling.
    """
    books = Books()
    a = books.call("a", prompt=39, cost=100.0, last=True)
    b = books.call("b", cost=500.0, last=True)
    books.complete(a, 1)
    assert books.ledger.num_settling == 1
    books.step(b, ends=[b])
    assert books.ledger.num_settling == 0
    assert a.account.fair_finished_iteration == 1


@pytest.mark.parametrize("how", ["an iteration ends", "the server's poll"])
def test_one_between_calls_keeps_them_until_its_grace_is_over(how):
    """b counts as going on, and a as sharing with it; then b waits for something else."""
    books = Books(idle_grace_s=2.0)
    a, b = books.call("a", prompt=39, cost=100.0, last=True), books.call("b", cost=500.0)
    books.complete(a, 1)
    books.step(ends=[b])
    books.now += 1.9
    books.ledger.expire(books.now)
    assert (books.ledger.num_settling, a.account.fair_finished_iteration) == (1, None)
    books.now += 0.1
    if how == "an iteration ends":
        books.ledger.end_iteration(books.now)
    else:
        books.ledger.expire(books.now)
    assert (books.ledger.num_settling, a.account.fair_finished_iteration) == (0, 2)


def test_those_behind_one_that_ends_early_are_placed_anew():
    """a used 10 of 500: t has paid for b sooner, and b goes before u's c."""
    books = Books()
    books.spend("a", 10, tenant="t", cost=500.0)
    books.call("b", tenant="t", cost=400.0)
    books.call("c", tenant="u", cost=600.0)
    assert books.queue.peek().account.app_id == "c"
    books.ledger.finish("a", books.now)
    assert books.queue.peek().account.app_id == "b"


def test_one_abandoned_is_settled_with_what_it_used():
    """Its client is gone: of 100 it used 40, and the reference had given it 20."""
    books = with_rest(idle_timeout_s=60.0)
    account = books.spend("a", 40, cost=100.0).account
    books.now += 60
    assert books.ledger.expire(books.now) == ["a"]
    assert account.end_reason == "idle_timeout"
    assert books.fair_finish("a") == 40


def test_one_whose_calls_are_all_aborted_is_settled_with_what_it_used():
    """A token of the one, nothing of the other."""
    books = with_rest()
    served, waiting = books.call("a", prompt=9, cost=100.0), books.call("a")
    books.step(served)
    for call in (waiting, served):
        books.end(call, completed=False)
    books.ledger.finish("a", books.now)
    assert books.fair_finish("a") == 10


def test_one_aborted_before_it_was_served_leaves_nothing_behind():
    """Nothing used, nothing owed."""
    books = with_rest()
    call = books.call("a", cost=100.0)
    books.end(call, completed=False)
    books.ledger.finish("a", books.now)
    assert "a" not in books.ledger.reference
    assert books.call("b").account.tag.debt == 0


# -- the guard ---------------------------------------------------------------------------


def test_a_grossly_under_predicted_application_is_tagged_by_what_it_used():
    """Not at five times what its tag was formed with, but past it; then past five times that."""
    books = with_rest()
    finishes = []
    for service in (50, 1, 204, 1):
        account = books.spend("a", service, cost=10.0, weight=2.0).account
        finishes.append(account.virtual_finish)
    assert GUARD_FACTOR == 5
    assert finishes == [5, 51 / 2, 51 / 2, 256 / 2]


def test_use_beyond_the_prediction_revises_it_for_the_reference_alone():
    """Used 12, then 13 of 10 told: noted when it is more than a quarter."""
    books = with_rest()
    shown = []
    for service in (12, 1):
        account = books.spend("a", service, cost=10.0).account
        shown.append((account.predicted_cost, books.fair_finish("a"), account.virtual_finish))
    assert shown == [(10, 10, 10), (13, 13, 10)]


def test_the_guard_is_seen_by_those_who_wait():
    """Behind the one that was wrong they wait no longer."""
    books = Books()
    wrong, waiting = books.call("a", prompt=64, cost=10.0), books.call("a")
    right = books.call("b", cost=50.0)
    books.admit(wrong)
    assert books.queue.peek() is waiting
    books.step(wrong)  # 65 used
    assert books.queue.peek() is right


def test_the_guard_may_let_a_tenant_go_before_others():
    """
    x is tagged when t owes 800 and nine others share t with it; y when the debt is worked off.

    At V_0 = 100: Phi(x) = 100 + 10 * 100 + 800. At V_0 = 1100, V_t = 200: Phi(y) = 1100 + 10 * 10,
    and Phi(c) = 1100 + 2 * 300 for u. x uses 501: t owes 401 more, and y goes first in t.
    """
    books = Books()
    books.spend("z", 900, tenant="t", cost=100.0, last=True)
    x, _ = (books.call("x", tenant="t", prompt=500, cost=100.0) for _ in range(2))
    for number in range(9):
        books.call(f"other{number}", tenant="t", cost=10_000.0)
    books.spend("rest", 2000, tenant="u", cost=1e6)
    y = books.call("y", tenant="t", cost=10.0)
    c = books.call("c", tenant="u", cost=300.0)
    finishes = [call.account.tag.top_finish for call in (x, y, c)]
    assert finishes == [1900, 1200, 1700]
    assert books.queue.peek() is c
    books.step(x)
    assert y.account.tag.top_finish == 1200 + 401
    assert books.queue.peek() is y


# -- debt --------------------------------------------------------------------------------


def indebted(*, used=300, weights=None):
    """Let an application of t that was told 100 have used *used*."""
    books = Books(tenant_weights=weights)
    books.spend("wrong", used, tenant="t", cost=100.0, last=True)
    return books


def debt_of(books, tenant="t"):
    """Return what a new application's tag would owe."""
    app_id = f"asks {len(books.ledger.finished)}"
    call = books.call(app_id, tenant=tenant, cost=1.0)
    debt = call.account.tag.debt
    books.end(call, completed=False)
    books.ledger.finish(app_id, books.now)
    return debt


def test_under_charge_becomes_the_tenants_debt():
    """200 more than told, worked off at the tenant's share: over its weight."""
    assert debt_of(indebted()) == 200
    assert debt_of(indebted(weights={"t": 4.0})) == 50
    assert debt_of(indebted(), tenant="u") == 0


def test_debt_acts_between_tenants():
    """t's next application goes behind u's, which it would have gone before."""
    books = indebted()
    books.call("b", tenant="t", cost=50.0)
    books.call("c", tenant="u", cost=100.0)
    assert books.queue.peek().account.app_id == "c"
    honest = indebted(used=100)
    honest.call("b", tenant="t", cost=50.0)
    honest.call("c", tenant="u", cost=100.0)
    assert honest.queue.peek().account.app_id == "b"


def test_debt_does_not_act_within_a_tenant():
    """F is formed without it: an application before the debt is not preferred to one after."""
    books = Books()
    books.call("before", tenant="t", cost=500.0)
    books.spend("wrong", 300, tenant="t", cost=100.0, last=True)
    after = books.call("after", tenant="t", cost=50.0)
    assert after.account.tag.debt > 0
    assert after.account.virtual_finish == after.account.virtual_start + 50
    assert books.queue.peek() is after


def test_debt_decays_with_the_top_clock():
    """u is served 80 alone: V_0 grows by 80, and 120 are left of 200; in the end nothing is."""
    books = indebted()
    books.call("rest", tenant="u", cost=1e6)
    books.spend("rest", 80, tenant="u")
    assert debt_of(books) == 120
    books.spend("rest", 120, tenant="u")
    assert debt_of(books) == 0


def test_over_charge_pays_debt_back():
    """
    Told 100, used 60: 40 are paid back.

    Meanwhile V_0 has grown by the 60, and so much of the debt is worked off.
    """
    books = indebted()
    books.spend("right", 60, tenant="t", cost=100.0, last=True)
    assert debt_of(books) == 200 - 60 - 40


def test_over_charge_pays_no_more_than_was_used():
    """Telling 10,000 and using 60 does not clear a tenant's debts."""
    books = indebted()
    books.spend("boasts", 60, tenant="t", cost=10_000.0, last=True)
    assert debt_of(books) == 200 - 60 - 60


def test_over_charge_saves_nothing_up():
    """Paid for too much beforehand, a later debt counts in full."""
    books = Books()
    books.spend("careful", 60, tenant="t", cost=100.0, last=True)
    books.spend("wrong", 50, tenant="t", cost=20.0, last=True)
    assert debt_of(books) == 30


def test_what_the_order_was_told_in_time_is_no_debt():
    """Revised before it was used, and followed; had the order not followed, it would be."""
    owed = []
    for both_ways in (True, False):
        books = Books()
        books.call("wrong", tenant="t", cost=100.0)
        books.ledger.revise("wrong", 300.0, books.now, both_ways=both_ways)
        books.spend("wrong", 300)
        books.end(books.queue.peek())
        books.ledger.finish("wrong", books.now)
        owed.append(debt_of(books))
    assert owed == [0, 200]


def test_moving_the_tag_up_after_the_fact_clears_nothing():
    """
    Used 300 of 100 told and only then told 300: 200 were used before anyone could know.

    They were booked at once, and 100 of them are worked off by the time it ends.
    """
    books = Books(follow_up=True)
    books.spend("wrong", 300, tenant="t", cost=100.0)
    books.ledger.revise("wrong", 400.0, books.now)
    books.spend("wrong", 100, last=True)
    assert debt_of(books) == 200 - 100


@pytest.mark.parametrize("used", [500, 501, 3000])
def test_the_guard_clears_nothing(used):
    """Wrong by a little more or much more than the guard lets pass, all of it is owed."""
    assert debt_of(indebted(used=used)) == used - 100


def test_one_abandoned_owes_as_one_that_ended():
    """Leaving without a word clears nothing."""
    books = Books(idle_timeout_s=60.0)
    books.spend("wrong", 300, tenant="t", cost=100.0)
    books.now += 60
    books.ledger.expire(books.now)
    assert debt_of(books) == 200


# -- debt, as it arises --------------------------------------------------------------------


def waiting_in_debt(*, prompt=98):
    """t: one told 100 that runs and another that waits; u: one that runs."""
    books = Books(idle_grace_s=2.0)
    wrong = books.call("wrong", tenant="t", prompt=prompt, cost=100.0)
    waiting = books.call("waiting", tenant="t", cost=50.0)
    books.call("rest", tenant="u", cost=1e6)
    return books, wrong, waiting.account.tag


def test_debt_is_booked_while_the_application_runs():
    """99, 199, 300, 402, 505, 609 used of 100 told: each a quarter more than the last, but 609."""
    books, wrong, tag = waiting_in_debt()
    owed = []
    for _ in range(6):
        books.step(wrong)
        owed.append(tag.debt)
    assert owed == [0, 99, 200, 302, 405, 405]


def test_debt_concerns_tags_that_are_open_already():
    """u's next goes before t's, which it would have gone behind."""
    books, wrong, _ = waiting_in_debt()
    other = books.call("other", tenant="u", cost=100.0)
    assert books.queue.peek().account.app_id == "waiting"
    for _ in range(3):
        books.step(wrong)
    books.admit(books.queue.peek())  # u's, by now
    assert other.queue is None


def test_debt_of_less_than_a_quarter_is_booked_when_the_grace_is_over():
    """121 used of 100 told; it may never end."""
    books, wrong, tag = waiting_in_debt(prompt=120)
    books.step(wrong, ends=[wrong])
    books.step()
    assert tag.debt == 0
    books.now += 1
    books.step()
    assert tag.debt == 21


def test_what_was_booked_on_the_way_is_not_booked_again_at_the_end():
    """300 used of 100 told, 200 booked when it had used them."""
    books, wrong, tag = waiting_in_debt()
    for _ in range(3):
        books.step(wrong)
    books.end(wrong)
    books.ledger.finish("wrong", books.now)
    assert tag.debt == 200


def test_debt_paid_back_brings_open_tags_forward_but_not_before_their_share():
    """t owes 200 for the one that was told too little; another was told 300 and used 60."""
    books, wrong, tag = waiting_in_debt()
    boasts = books.call("boasts", tenant="t", prompt=59, cost=300.0)
    for _ in range(3):
        books.step(wrong)
    assert (tag.debt, boasts.account.tag.debt) == (200, 200)
    books.step(boasts, ends=[boasts])
    books.ledger.finish("boasts", books.now)
    assert tag.debt == 200 - 60
    later = books.call("later", tenant="t", cost=50.0).account.tag
    assert 0 < later.debt < tag.debt  # some of it is worked off


def test_one_that_pauses_over_its_tag_is_sampled_and_sampled_again_when_it_ends():
    """It may never end, and what it was told would never be found wrong."""
    books, wrong, _ = waiting_in_debt()
    for _ in range(2):
        books.step(wrong)
    books.end(wrong)
    books.now += 2
    books.step()
    books.ledger.finish("wrong", books.now)
    samples = books.ledger.samples.after(0)
    assert [(each.app_id, each.cost, each.has_ended) for each in samples] == [
        ("wrong", 199, False),
        ("wrong", 199, True),
    ]


def test_one_that_pauses_within_its_tag_teaches_nothing_yet():
    """It may go on."""
    books, wrong, _ = waiting_in_debt()
    books.step(wrong)
    books.end(wrong)
    books.now += 2
    books.step()
    assert books.ledger.samples.after(0) == []
