"""
Lateness, and the most it may be: L + L_max + C_max / M, with one stage 2 d_max + C_max / M.

M is 1000; iterations are numbered from 0, and number i ends at second i + 1.
"""

import pytest
from support.books import Books

from justitia_server.fairness.bound import BusyPeriod
from justitia_server.fairness.cost import call_cost


def busy_period(**options):
    return BusyPeriod(
        **{"capacity": 1000, "block_size": 1, "prefill_tokens_per_iteration": 8192, **options}
    )


# -- the bound ---------------------------------------------------------------------------


def test_the_bound_of_a_single_stage():
    """The longest call takes 8 iterations alone."""
    books = Books()
    long = books.call("long", prompt=10, cost=call_cost(10, 8), last=True)
    books.complete(long, 8)
    assert long.account.bound_iterations == 2 * 8 + call_cost(10, 8) / 1000


def test_the_path_of_a_chain_has_a_wait_before_each_call_but_the_first():
    """Two calls one after the other, 3 iterations each: L = L_max = 3 + (3 + 3)."""
    books = Books()
    for is_last in (False, True):
        call = books.call("a", prompt=10, last=is_last)
        books.complete(call, 3)
    assert call.account.bound_iterations == 2 * 9 + 2 * call_cost(10, 3) / 1000


def test_calls_that_run_at_once_are_one_stage():
    """Nobody waits for anybody: nothing is added, however many there are."""
    books = Books()
    calls = [books.call("a", prompt=10) for _ in range(3)]
    for _ in range(3):
        books.step(*calls)
    for call in calls:
        books.end(call)
    books.ledger.finish("a", books.now)
    assert calls[0].account.bound_iterations == 2 * 3 + 3 * call_cost(10, 3) / 1000


def test_the_longest_of_a_stage_is_its_part_of_the_path():
    """Calls of 2 and 5 iterations at once, then one of 3: the path is 5 + (5 + 3)."""
    books = Books()
    short, long = books.call("a", prompt=10), books.call("a", prompt=10)
    books.step(short, long)
    books.step(short, long, ends=[short])
    books.complete(long, 3)
    after = books.call("a", prompt=10, last=True)
    books.complete(after, 3)
    cost = call_cost(10, 2) + call_cost(10, 5) + call_cost(10, 3)
    assert after.account.bound_iterations == 2 * 13 + cost / 1000


def test_a_call_waits_for_those_that_have_ended_only():
    """One of 3 begins when the one of 2 has ended; the one of 5 goes on: the path is 2 + 3."""
    books = Books()
    short, long = books.call("a", prompt=10), books.call("a", prompt=10)
    books.step(short, long)
    books.step(short, long, ends=[short])
    after = books.call("a", prompt=10)
    for _ in range(3):
        books.step(long, after)
    for call in (long, after):
        books.end(call)
    assert after.account.longest_chain == 5


def test_the_bound_takes_the_maxima_of_the_busy_period():
    """A large application with a long call before a small one."""
    books = Books()
    books.keep_busy()
    large = books.call("large", prompt=100, last=True)
    books.complete(large, 50)
    small = books.call("small", prompt=1, last=True)
    books.complete(small, 2)
    assert small.account.bound_iterations == 2 * 50 + call_cost(100, 50) / 1000


def test_the_maxima_begin_anew_with_the_next_busy_period():
    """Nobody of the old one is left."""
    books = Books()
    books.complete(books.call("large", prompt=100, last=True), 50)
    small = books.call("small", prompt=1, last=True)
    books.complete(small, 2)
    assert small.account.bound_iterations == 2 * 2 + call_cost(1, 2) / 1000


def test_an_application_between_calls_keeps_the_busy_period():
    """It may come back, with calls as long as before."""
    books = Books()
    books.complete(books.call("large", prompt=100), 50)
    small = books.call("small", prompt=1, last=True)
    books.complete(small, 2)
    assert small.account.bound_iterations == 2 * 50 + call_cost(1, 2) / 1000


def test_one_stage_beside_a_chain_may_be_late_by_the_chains_path():
    """The chain has L = 3 + (3 + 3), the other d_max = 3 though its own call takes 2."""
    books = Books()
    books.keep_busy()
    for _ in range(2):
        books.complete(books.call("chain", prompt=10), 3)
    books.ledger.finish("chain", books.now)
    alone = books.call("alone", prompt=1, last=True)
    books.complete(alone, 2)
    assert alone.account.bound_iterations == 3 + 9 + 2 * call_cost(10, 3) / 1000


def test_the_longest_path_grows_with_the_longest_call():
    """A chain of 3 calls of 2 iterations, then one call of 10: its waits are of 10 by then."""
    books = Books()
    books.keep_busy()
    for _ in range(3):
        books.complete(books.call("chain", prompt=10), 2)
    books.ledger.finish("chain", books.now)
    long = books.call("long", prompt=10, last=True)
    books.complete(long, 10)
    assert long.account.bound_iterations == 10 + (6 + 2 * 10) + call_cost(10, 10) / 1000


@pytest.mark.parametrize(
    ("num_prompt_tokens", "num_iterations"), [(1, 0), (100, 0), (101, 1), (200, 1), (201, 2)]
)
def test_a_prompt_takes_iterations_of_its_own(num_prompt_tokens, num_iterations):
    """At 100 tokens an iteration; the last part gives the first output token."""
    period = busy_period(prefill_tokens_per_iteration=100)
    assert period.prefill_iterations(num_prompt_tokens) == num_iterations


def test_prefill_counts_as_part_of_a_call():
    """Three iterations for the prompt of the longest call, the last of them the first token's."""
    books = Books(prefill_tokens_per_iteration=100)
    call = books.call("a", prompt=250, last=True)
    books.complete(call, 4)
    assert books.ledger.finished["a"].bound_iterations == 2 * (2 + 4) + call_cost(250, 4) / 1000


def test_memory_is_rounded_up_to_blocks():
    """Each token held may cost most of a block: 15 tokens more for each of 4 iterations."""
    books = Books(block_size=16)
    call = books.call("a", prompt=10, last=True)
    books.complete(call, 4)
    assert call.account.bound_iterations == 2 * 4 + (call_cost(10, 4) + 4 * 15) / 1000


def test_a_call_that_runs_counts_at_once():
    """The bound knows calls that have not ended: they are what others wait for."""
    books = Books()
    books.deliver(books.call("running"), 30)
    short = books.call("short", last=True)
    books.complete(short, 1)
    assert short.account.bound_iterations == 2 * 30 + call_cost(10, 1) / 1000


# -- lateness ----------------------------------------------------------------------------


def test_lateness_is_not_known_before_both_are_done():
    """Neither when only the reference is, nor when only the server is."""
    books = Books()
    books.keep_busy()
    late, early = (
        books.call("late", prompt=19, cost=20.0),
        books.call("early", prompt=59, cost=60.0),
    )
    books.step(early, ends=[early])
    books.ledger.finish("early", books.now)
    for account in (late.account, early.account):
        assert (account.lateness_iterations, account.lateness_s) == (None, None)
    assert (late.account.fair_finished_iteration, late.account.finished_iteration) == (0, None)
    assert (early.account.fair_finished_iteration, early.account.finished_iteration) == (None, 0)


def test_lateness_is_finish_minus_fair_finish():
    """
    late (20) and early (60) with rest: each is given a third of what early gets.

    60 bring V to 20: late is done there, in iteration 0, and really in iteration 3.
    """
    books = Books()
    books.keep_busy()
    late, early = (
        books.call("late", prompt=19, cost=20.0),
        books.call("early", prompt=59, cost=60.0),
    )
    books.step(early)
    books.step()
    books.step()
    books.step(late, ends=[late])
    books.ledger.finish("late", books.now)
    assert (late.account.lateness_iterations, late.account.lateness_s) == (3, 3.0)


def test_in_the_iteration_of_its_fair_finish_nobody_is_late():
    """Alone, an application is served as fast as it can be."""
    books = Books()
    call = books.call("a", prompt=9, cost=call_cost(9, 3), last=True)
    books.complete(call, 3)
    assert (call.account.lateness_iterations, call.account.lateness_s) == (0, 0.0)


# -- the estimate ------------------------------------------------------------------------


def test_a_fair_finish_is_estimated_and_then_known():
    """
    a (300) and rest share: a needs 600, which the server gives in 0.6 iterations if it gives M.

    After 400 it is 200; then its fair finish is past, and there is nothing to estimate.
    """
    books = Books()
    books.keep_busy()
    account = books.call("a", cost=300.0).account
    estimates = [books.ledger.fair_finish_in(account)]
    for service in (400, 200):
        books.spend("rest", service)
        estimates.append(books.ledger.fair_finish_in(account))
    assert estimates == [0.6, 0.2, None]
    assert account.fair_finished_iteration == 1


def test_an_estimate_follows_arrivals_and_revisions():
    """Nobody else, then one more, then less to do."""
    books = Books()
    account = books.call("a", cost=300.0).account
    estimates = [books.ledger.fair_finish_in(account)]
    books.call("b", cost=300.0)
    estimates.append(books.ledger.fair_finish_in(account))
    books.ledger.revise("a", 100.0, books.now)
    estimates.append(books.ledger.fair_finish_in(account))
    assert estimates == [0.3, 0.6, 0.2]


def test_one_that_has_ended_is_estimated_until_the_reference_is_done_with_it():
    """Its fair finish is provisional: the same estimate, now of what it used."""
    books = Books()
    books.keep_busy()
    account = books.spend("a", 100, cost=300.0, last=True).account
    assert books.ledger.fair_finish_in(account) == 0.1
    books.spend("rest", 100)
    assert books.ledger.fair_finish_in(account) is None


def test_an_estimate_goes_up_when_the_reference_takes_one_back():
    """Done with, then found to cost more: it is estimated again."""
    books = Books()
    books.keep_busy()
    account = books.call("a", cost=10.0).account
    books.spend("rest", 20)
    assert books.ledger.fair_finish_in(account) is None
    books.ledger.revise("a", 60.0, books.now)
    assert books.ledger.fair_finish_in(account) == 0.1
