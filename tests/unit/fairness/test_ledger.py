"""The books: arrivals, charging, ends, samples, and what they refuse."""

import math

import pytest
from support.books import Books

from justitia_sdk.errors import AccountingError, ApplicationClosed, ClockError
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts, State
from justitia_server.fairness.cost import call_cost
from justitia_server.fairness.ledger import TYPICAL_OUTPUT_TOKENS, Ledger, LedgerOptions
from justitia_server.fairness.policies.registry import POLICIES, make_policy

NONSENSE = [0.0, -1.0, math.nan, math.inf]


# -- arrivals ----------------------------------------------------------------------------


def test_an_application_arrives_with_its_first_call_and_not_when_announced():
    """F = V + C / w, with V at the first call."""
    books = Books()
    books.ledger.announce(ApplicationFacts("b", predicted_cost=50.0, weight=2.0), books.now)
    first = books.call("a", cost=100.0)
    books.step(first)
    second = books.call("b")
    assert (first.account.virtual_start, first.account.virtual_finish) == (0, 100)
    assert (second.account.virtual_start, second.account.virtual_finish) == (11, 36)


def test_what_is_told_again_before_the_first_call_counts():
    """An announcement may be mended until the application has arrived, and not after."""
    books = Books()
    books.ledger.announce(ApplicationFacts("a", predicted_cost=50.0), books.now)
    books.ledger.announce(ApplicationFacts("a", predicted_cost=70.0), books.now)
    account = books.call("a").account
    assert books.ledger.announce(ApplicationFacts("a", predicted_cost=9.0), books.now) is account
    assert (account.facts.predicted_cost, account.virtual_finish) == (70, 70)


def test_an_announced_application_stands_nowhere():
    """It has no tag and is not in the reference; there is nothing to revise or to estimate."""
    books = Books()
    account = books.ledger.announce(ApplicationFacts("a"), books.now)
    assert (account.state, account.virtual_start, account.virtual_finish) == (
        State.ANNOUNCED, 0, 0,
    )  # fmt: skip
    assert books.ledger.fair_finish_in(account) is None
    with pytest.raises(AccountingError, match="nothing to revise"):
        books.ledger.revise("a", 5.0, books.now)


def test_calls_of_one_application_share_an_account():
    """One arrival, one tag, however many calls."""
    books = Books()
    one, two = books.call("a"), books.call("a", cost=7.0)
    assert one.account is two.account
    assert (one.account.num_open, one.account.num_waiting, one.account.num_running) == (2, 2, 0)
    assert len(books.ledger.reference) == 1


def test_a_call_of_a_finished_application_is_served_and_flagged():
    """It opens a new account under the same id, each time it happens."""
    books = Books()
    for num_late in range(3):
        call = books.call("a", last=True)
        assert (call.account.num_late, call.account.state) == (num_late, State.IN_FLIGHT)
        books.complete(call, 1)
    assert list(books.ledger.finished) == ["a"]


def test_what_comes_after_the_end_was_told_ends_by_itself():
    """Nobody tells the end twice; one that expired is open until it does again."""
    books = Books(idle_timeout_s=60.0)
    books.spend("told", 10)
    books.ledger.finish("told", books.now)
    books.spend("expired", 10)
    books.now += 60
    books.ledger.expire(books.now)
    for app_id in ("told", "expired"):
        books.spend(app_id, 10)
    assert list(books.ledger.in_flight) == ["expired"]


def test_an_application_that_comes_back_while_it_settles_begins_anew():
    """What the reference still owed the earlier account is dropped; the new one owes itself all."""
    books = Books()
    books.keep_busy()
    books.spend("a", 50, cost=50.0, last=True)
    assert books.ledger.num_settling == 1
    again = books.call("a", cost=80.0)
    assert books.ledger.num_settling == 0
    assert again.account.virtual_finish == books.virtual_time + 80


@pytest.mark.parametrize(
    ("predicted", "limit", "num_tokens"),
    [(7, 100, 7), (None, 100, 100), (None, None, TYPICAL_OUTPUT_TOKENS)],
)
def test_a_call_is_taken_for_as_long_as_is_known(predicted, limit, num_tokens):
    """By its prediction, else by its limit, else by what is usual."""
    call = Books().ledger.add_call(
        ApplicationFacts("a"),
        CallFacts(predicted_output_tokens=predicted),
        "r",
        num_prompt_tokens=10,
        now=0.0,
        max_output_tokens=limit,
    )
    assert call.predicted_cost == call_cost(10, num_tokens)


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_call_tried_again_is_done_once_and_charged_for_every_attempt(is_answered):
    """Attempt 0 cut off after three tokens, 1 complete but unheard or cut off, 2 complete."""
    books = Books()
    for attempt, num_tokens in enumerate((3, 5, 5)):
        call = books.call("a", prompt=10, call_id="c", attempt=attempt)
        for _ in range(num_tokens):
            books.step(call)
        books.end(call, completed=attempt == 2 or (attempt == 1 and is_answered))
    account = call.account
    assert (account.num_done, account.num_retries) == (1, 2)
    assert account.attained_service == call_cost(10, 3) + 2 * call_cost(10, 5)


def test_retries_and_stages_are_noted():
    """A second attempt counts; a call without a stage leaves the name of the last."""
    books = Books()
    books.call("a", stage="plan")
    account = books.call("a", attempt=1).account
    assert (account.num_retries, account.stage) == (1, "plan")


# -- service -----------------------------------------------------------------------------


def test_a_call_is_charged_what_it_costs():
    """Token by token, attained service adds up to the cost formula."""
    books = Books()
    call = books.call("a", prompt=7)
    books.complete(call, 5)
    assert call.account.attained_service == call_cost(7, 5)
    assert call.account.num_output_tokens == 5


def test_several_tokens_in_one_iteration_are_charged_each():
    """Speculative decoding may deliver several at once; the same number again is nothing new."""
    books = Books()
    call = books.call("a", prompt=7)
    books.deliver(call, 5)
    books.ledger.deliver(call, 5)
    assert call.account.attained_service == call_cost(7, 5)


def test_blocks_held_together_are_charged_in_part():
    """Of the memory held, what others are charged for is kept apart, not charged twice."""
    books = Books()
    call = books.call("a", prompt=10)
    call.shared_tokens = 6
    books.deliver(call, 3)
    assert call.account.attained_service == call_cost(10, 3) - 3 * 6
    assert call.account.shared_service == 3 * 6
    books.end(call)
    books.ledger.finish("a", books.now)
    (sample,) = books.ledger.samples.after(0)
    assert (sample.cost, sample.unshared_cost) == (call_cost(10, 3) - 18, call_cost(10, 3))


def test_each_token_is_charged_at_what_was_shared_when_it_was_delivered():
    """However late it is charged: 2 tokens at 6, 3 at 1, 1 at none."""
    books = Books()
    call = books.call("a", prompt=10)
    call.share(6, 0)
    books.deliver(call, 1)
    call.share(1, 2)
    call.share(0, 5)
    books.deliver(call, 5)
    assert call.account.shared_service == 2 * 6 + 3 * 1
    assert call.account.attained_service == call_cost(10, 6) - 15


def test_tokens_computed_are_charged_whole_whoever_shares_their_memory():
    """p + 2d counts no memory, so there is none to share."""
    books = Books("justitia_compute")
    call = books.call("a", prompt=10)
    call.shared_tokens = 6
    books.deliver(call, 3)
    assert (call.account.attained_service, call.account.shared_service) == (10 + 2 * 3, 0)


def test_a_call_is_admitted_once_to_its_policy():
    """Coming back from preemption, it is admitted to the batch again and to the policy not."""
    books = Books("vtc")
    call = books.call("a", prompt=10)
    for _ in range(2):
        books.admit(call)
    assert books.policy._counters == {"a": 10}


def test_service_not_read_yet_is_read_before_anyone_is_tagged():
    """A new arrival starts at V as it is, not as it was when somebody last looked."""
    books = Books()
    call = books.call("a", prompt=9)
    books.ledger.read_all = lambda: books.ledger.deliver(call, 1)
    assert books.call("b").account.virtual_start == 10


def test_nothing_need_be_read_while_nobody_can_leave_the_reference():
    """a has 100 to go, 30 of them charged: 69 unread change nothing, 70 may."""
    books = Books()
    books.call("a", cost=100.0)
    books.deliver(books.call("a", prompt=29))
    assert not books.ledger.needs_reading(69, books.now)
    assert books.ledger.needs_reading(70, books.now)


def test_the_service_that_may_go_unread_is_where_a_reading_is_needed():
    """a has 100 to go, 30 of them charged; some must be asked every time."""
    for policy, quiet_service in [("justitia", 70), ("justitia_nominal", 0), ("srjf", 0)]:
        books = Books(policy)
        books.call("a", cost=100.0)
        books.deliver(books.call("a", prompt=29))
        assert books.ledger.quiet_service() == quiet_service


def test_an_order_that_follows_service_needs_every_reading():
    """Whoever reads service must have it in each iteration."""
    books = Books("srjf")
    books.call("a", cost=1e6)
    assert books.ledger.needs_reading(0, books.now)


def test_the_end_of_a_grace_period_needs_a_reading():
    """Someone is to be paused, if only the books are looked at."""
    books = Books(idle_grace_s=2.0)
    books.keep_busy()
    books.spend("a", 10)
    assert not books.ledger.needs_reading(0, books.now + 1.9)
    assert books.ledger.needs_reading(0, books.now + 2)


def test_a_server_without_calls_needs_a_reading():
    """Finished applications are to leave the reference."""
    books = Books()
    call = books.call("a", cost=1e6)
    assert not books.ledger.needs_reading(0, books.now)
    books.end(call)
    assert books.ledger.needs_reading(0, books.now)


def test_an_iteration_in_which_nothing_is_read_counts():
    """Read or not, iterations go on."""
    books = Books()
    books.step()
    books.ledger.skip_iterations(1)
    assert books.ledger.iteration == 2


# -- ends --------------------------------------------------------------------------------


def test_true_costs_empty_reference_and_server_together():
    """
    Two applications of 50, one served after the other; the reference serves both at once.

    It is done with both when 100 are delivered: in the last iteration, the eighth.
    """
    books = Books()
    calls = [books.call(name, prompt=10, cost=call_cost(10, 4), last=True) for name in "ab"]
    for call in calls:
        books.complete(call, 4)
    assert [call.account.fair_finished_iteration for call in calls] == [7, 7]
    assert [call.account.lateness_iterations for call in calls] == [-4, 0]
    assert [call.account.lateness_s for call in calls] == [-4, 0]
    assert len(books.ledger.reference) == 0


def test_finishing_waits_for_calls_in_flight():
    """Told to finish while a call runs, an application ends with that call."""
    books = Books()
    call = books.call("a")
    books.step(call)
    books.ledger.finish("a", books.now)
    assert call.account.state is State.IN_FLIGHT
    books.end(call)
    assert (call.account.state, call.account.end_reason) == (State.FINISHED, "finished")


def test_an_idle_application_is_finished_as_of_its_last_call():
    """However late its client says so, and whatever reason it gives."""
    books = Books()
    account = books.spend("a", 10).account
    books.step()
    books.ledger.finish("a", books.now, reason="client_gone")
    assert (account.finished_at, account.finished_iteration) == (1.0, 0)
    assert account.end_reason == "client_gone"


def test_the_last_call_ends_its_application():
    """A call that says it is the last needs no finish."""
    books = Books()
    assert books.spend("a", 10, last=True).account.state is State.FINISHED


def test_the_last_call_waits_for_the_others():
    """Said to be the last, done before another: the application ends with that other."""
    books = Books()
    other, last = books.call("a"), books.call("a", last=True)
    books.step(other, last, ends=[last])
    assert last.account.state is State.IN_FLIGHT
    books.end(other)
    assert last.account.state is State.FINISHED


def test_a_last_call_that_is_aborted_ends_nothing():
    """Its client may try again."""
    books = Books()
    call = books.call("a", last=True)
    books.end(call, completed=False)
    assert call.account.state is State.IDLE


@pytest.mark.parametrize("completed", [True, False])
def test_a_call_without_an_application_leaves_with_its_end(completed):
    """Completed or aborted, it is over."""
    books = Books()
    call = books.call("alone", is_single_call=True)
    books.end(call, completed=completed)
    assert not books.ledger.in_flight


def test_between_calls_an_application_is_idle():
    """It may call again."""
    books = Books()
    account = books.spend("a", 10).account
    assert account.state is State.IDLE
    books.call("a")
    assert account.state is State.IN_FLIGHT


def test_announced_and_withdrawn_leaves_no_trace():
    """Finished before its first call, it never was."""
    books = Books()
    books.ledger.announce(ApplicationFacts("a"), books.now)
    books.ledger.finish("a", books.now)
    assert books.ledger.find("a") is None
    assert books.ledger.num_finished == 0


def test_applications_are_found_before_and_after_their_end():
    """By id; the unknown are not."""
    books = Books()
    call = books.call("a", last=True)
    assert books.ledger.find("a") is call.account
    books.complete(call, 1)
    assert call.account.state is State.FINISHED
    assert books.ledger.find("a") is call.account
    assert books.ledger.find("b") is None


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_what_is_kept_of_the_finished_is_bounded(policy, monkeypatch):
    """Books and reference are empty after many applications, but for the last finished ones."""
    monkeypatch.setattr("justitia_server.fairness.ledger.NUM_FINISHED_KEPT", 20)
    books = Books(policy)
    for number in range(100):
        books.spend(f"a{number}", 5 + number % 7, cost=10.0, last=True)
    ledger = books.ledger
    assert not ledger.in_flight
    assert ledger.num_settling == 0
    assert ledger.num_open_calls == 0
    assert len(ledger.reference) == 0
    assert not any(f"a{number}" in ledger.reference for number in range(100))
    assert list(ledger.finished) == [f"a{number}" for number in range(80, 100)]
    assert ledger.num_finished == 100


# -- samples -----------------------------------------------------------------------------


def test_a_finished_application_is_a_sample():
    """Its true cost is what predictors learn from."""
    books = Books()
    books.spend("a", 30, tenant="t")
    books.spend("a", 20, tenant="t", last=True)
    (sample,) = books.ledger.samples.after(0)
    assert (sample.seq, sample.app_id, sample.tenant) == (1, "a", "t")
    assert (sample.cost, sample.num_calls, sample.num_output_tokens) == (50, 2, 2)


def test_an_application_with_an_aborted_call_teaches_nothing():
    """What it would have cost is not known."""
    books = Books()
    call = books.call("a")
    books.step(call)
    books.end(call, completed=False)
    books.spend("a", 10, last=True)
    assert books.ledger.num_finished == 1
    assert not books.ledger.samples.after(0)


# -- events ------------------------------------------------------------------------------


def test_events_name_the_stage_and_the_tool_at_work():
    """A tool begins and ends; naming the stage ends none."""
    books = Books()
    account = books.spend("a", 10).account
    assert books.ledger.note_event("a", "tool_start", "search", books.now)
    assert books.ledger.note_event("a", "stage", "write", books.now)
    assert (account.stage, account.tools.since_at) == ("write", 1.0)
    books.ledger.note_event("a", "tool_end", "search", books.now)
    assert account.tools.since_at is None


def test_a_tool_may_call_and_goes_on():
    """It ends when it says so, or with the application as of what was last heard of that."""
    books = Books()
    account = books.spend("a", 10).account
    books.ledger.note_event("a", "tool_start", "ask", books.now)
    books.now += 2
    books.spend("a", 10)
    assert account.tools.since_at == 1.0
    books.now += 50
    books.ledger.finish("a", books.now)
    assert (account.tools.since_at, account.tools.total_s) == (None, 3.0)


def test_events_of_unknown_applications_are_answered():
    """No error: whoever is told may not have heard of it yet."""
    assert Books().ledger.note_event("a", "stage", "write", 0.0) is False


# -- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["cost", "weight"])
@pytest.mark.parametrize("value", NONSENSE)
def test_a_nonsense_arrival_is_refused_and_leaves_no_trace(field, value):
    """Not above 0, not a number, or infinite."""
    books = Books()
    with pytest.raises(AccountingError, match=field):
        books.call("a", **{field: value})
    assert not books.ledger.in_flight
    assert "a" not in books.ledger.reference
    assert (books.ledger.num_open_calls, books.ledger.num_settling) == (0, 0)


@pytest.mark.parametrize("field", ["predicted_cost", "weight"])
@pytest.mark.parametrize("value", NONSENSE)
def test_a_nonsense_announcement_is_refused(field, value):
    """At once, and not when its first call comes; what was announced before stands."""
    books = Books()
    before = books.ledger.announce(ApplicationFacts("a"), books.now).facts
    for app_id in "ab":
        with pytest.raises(AccountingError, match="finite and above 0"):
            books.ledger.announce(ApplicationFacts(app_id, **{field: value}), books.now)
    assert list(books.ledger.in_flight) == ["a"]
    assert books.ledger.find("a").facts is before


def test_a_refused_arrival_does_not_undo_an_end():
    """The account of the finished application of that id stays."""
    books = Books()
    account = books.spend("a", 10, last=True).account
    with pytest.raises(AccountingError):
        books.call("a", weight=-1.0)
    assert books.ledger.find("a") is account


@pytest.mark.parametrize("weight", NONSENSE)
def test_a_tenant_of_nonsense_weight_is_refused_at_once(weight):
    """Before anybody has come."""
    with pytest.raises(AccountingError, match="weight of tenant t"):
        Books(tenant_weights={"t": weight})


@pytest.mark.parametrize(
    "happens",
    [
        lambda ledger, call, now: ledger.announce(ApplicationFacts("b"), now),
        lambda ledger, call, now: ledger.add_call(
            ApplicationFacts("b"), CallFacts(), "r", num_prompt_tokens=1, now=now
        ),
        lambda ledger, call, now: ledger.revise("a", 5.0, now),
        lambda ledger, call, now: ledger.end_iteration(now),
        lambda ledger, call, now: ledger.end_call(call, now, completed=True),
        lambda ledger, call, now: ledger.finish("a", now),
        lambda ledger, call, now: ledger.expire(now),
        lambda ledger, call, now: ledger.note_event("a", "stage", "s", now),
    ],
    ids=["announce", "call", "revise", "iteration", "end", "finish", "expire", "event"],
)
@pytest.mark.parametrize("now", [9.0, math.nan])
def test_time_running_back_is_refused_and_changes_nothing(happens, now):
    """The caller's clock is monotonic, or the books are wrong."""
    books = Books()
    books.now = 10.0
    call = books.call("a")
    with pytest.raises(ClockError):
        happens(books.ledger, call, now)
    assert list(books.ledger.in_flight) == ["a"]
    assert (call.is_open, books.ledger.iteration, call.account.predicted_cost) == (True, 0, 100)


def test_time_may_stand_still():
    """Several things happen at one instant."""
    ledger = Ledger(make_policy("justitia"), LedgerOptions(capacity=1))
    for _ in range(2):
        ledger.end_iteration(5.0)


def test_announcing_a_finished_application_is_refused():
    """Its end is final for those who ask politely."""
    books = Books()
    books.spend("a", 10, last=True)
    with pytest.raises(ApplicationClosed):
        books.ledger.announce(ApplicationFacts("a"), books.now)


def test_finishing_twice_is_refused():
    """While its calls are in flight, and after its end."""
    books = Books()
    call = books.call("a")
    books.ledger.finish("a", books.now)
    with pytest.raises(ApplicationClosed, match="is finishing"):
        books.ledger.finish("a", books.now)
    books.end(call)
    with pytest.raises(ApplicationClosed, match="has finished"):
        books.ledger.finish("a", books.now)
    assert books.ledger.num_finished == 1


def test_finishing_the_unknown_is_refused():
    """By name."""
    with pytest.raises(AccountingError, match="ghost is unknown"):
        Books().ledger.finish("ghost", 0.0)


def test_a_call_ends_once():
    """Ending it twice is refused and changes nothing."""
    books = Books()
    call = books.call("a")
    books.end(call)
    with pytest.raises(AccountingError, match="ended before"):
        books.end(call)
    assert (call.account.num_open, books.ledger.num_open_calls) == (0, 0)


def test_tokens_are_not_taken_back():
    """A call that has fewer than it had is refused."""
    books = Books()
    call = books.call("a")
    books.deliver(call, 3)
    with pytest.raises(AccountingError, match="lost output tokens"):
        books.ledger.deliver(call, 2)
    assert call.num_output_tokens == 3
