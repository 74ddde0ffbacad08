"""How an application spends its time: waiting, running, at tools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.books import Books

from justitia_server.fairness.spells import MOST_EXPECTED_S, Phase, Spells, Tools

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["call", "admit", "preempt", "complete", "abort"]),
        st.integers(0, 3),  # which
        st.integers(0, 5),  # seconds until the next
    ),
    max_size=40,
)


def take(calls, which):
    return calls.pop(which % len(calls)) if calls else None


def happen(books, kind, which, waiting, running):
    """Let one event happen to "a"; pass over one that makes no sense."""
    if kind == "call":
        waiting.append(books.call("a"))
    elif kind == "admit" and (call := take(waiting, which)):
        books.admit(call)
        running.append(call)
    elif kind == "preempt" and (call := take(running, which)):
        books.wait(call)
        waiting.append(call)
    elif kind == "complete" and (call := take(running, which)):
        books.end(call)
    elif kind == "abort" and (call := take(waiting if which % 2 else running, which)):
        books.end(call, completed=False)


@given(EVENTS)
def test_every_second_is_waited_run_or_idle(events):
    """As the calls stand between two events, whatever happens, and up to the present."""
    books = Books()
    waiting, running, waited, ran = [], [], 0, 0
    for kind, which, seconds in events:
        happen(books, kind, which, waiting, running)
        account = books.ledger.find("a")
        books.now += seconds
        ran += seconds * bool(running)
        waited += seconds * bool(waiting and not running)
        if account is not None:
            assert account.spells.until(books.now) == (waited, ran)


def test_only_what_changes_is_an_event():
    """A second call while one runs ends no spell."""
    spells = Spells()
    for now, phase in ((1.0, Phase.WAITING), (3.0, Phase.RUNNING), (4.0, Phase.RUNNING)):
        spells.enter(phase, now)
    assert (spells.wait_s, spells.run_s, spells.since_at) == (2.0, 0.0, 3.0)
    assert spells.until(10.0) == (2.0, 7.0)


def test_a_call_that_ends_where_it_waits_leaves_its_queue():
    """As one preempted whose last token was under way; the other one runs on."""
    books = Books()
    one, other = books.call("a"), books.call("a")
    for call in (one, other):
        books.admit(call)
    books.wait(one)
    books.ledger.end_call(one, books.now, completed=True)
    assert len(books.queue) == 0
    books.now += 2
    assert other.account.spells.until(books.now) == (0, 2)


def test_an_application_that_comes_back_after_its_end_is_counted_anew():
    """Its late call opens another account."""
    books = Books()
    books.complete(books.call("a", last=True), 3)
    books.now += 5
    late = books.call("a")
    books.now += 1
    assert late.account.spells.until(books.now) == (1, 0)


# -- tools -------------------------------------------------------------------------------


def test_three_tools_at_once_are_one_spell():
    """From the first start to the last end."""
    tools = Tools()
    for now in (1.0, 2.0, 3.0):
        tools.start(now)
    for now in (4.0, 7.0):
        tools.end(now)
    assert (tools.num_open, tools.since_at, tools.until(9.0)) == (1, 1.0, 8.0)
    tools.end(11.0)
    assert (tools.since_at, tools.total_s) == (None, 10.0)


def test_an_end_without_a_beginning_is_passed_over():
    """Its beginning was told to nobody, or the server was started since."""
    tools = Tools()
    tools.end(5.0)
    tools.start(6.0)
    assert (tools.num_open, tools.total_s) == (1, 0.0)


@pytest.mark.parametrize(
    ("told", "expected_s"),
    [([(0, None)], None), ([(0, 60)], 60), ([(0, 60), (10, 20)], 60), ([(0, 60), (50, 20)], 70),
     ([(0, None), (5, 60)], 65), ([(0, 1e9)], MOST_EXPECTED_S)],
)  # fmt: skip
def test_what_is_expected_is_when_the_last_will_have_ended(told, expected_s):
    """Seconds from the beginning of the first; a day at most."""
    tools = Tools()
    for now, seconds in told:
        tools.start(now, seconds)
    assert tools.expected_s == expected_s


def test_nothing_is_expected_of_tools_that_have_ended():
    """Nor of one that begins later and tells nothing."""
    tools = Tools()
    tools.start(0.0, 100.0)
    tools.end(1.0)
    assert tools.expected_s is None
    tools.start(2.0)
    assert tools.expected_s is None
