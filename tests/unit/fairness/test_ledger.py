"""The books: arrival, service, settlement, idleness."""

import pytest

from justitia_sdk.errors import AccountingError, ApplicationClosed, ClockError
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts, State
from justitia_server.fairness.cost import call_cost
from justitia_server.fairness.ledger import NUM_FINISHED_KEPT, Ledger
from justitia_server.fairness.policies.registry import POLICIES, make_policy


class Server:
    """A ledger with a hand-wound clock: one iteration a second."""

    def __init__(self, policy="justitia", **settings):
        self.ledger = Ledger(make_policy(policy), capacity=1000, **settings)
        self.now = 0.0

    def call(self, app, *, prompt=10, cost=100.0, weight=1.0, **facts):
        application = ApplicationFacts(app, predicted_cost=cost, weight=weight)
        name = f"{app}-{self.ledger._num_calls}"
        return self.ledger.add_call(
            application, CallFacts(**facts), name, num_prompt_tokens=prompt, now=self.now
        )

    def step(self, *calls):
        """One iteration in which each of *calls* gets one token."""
        for each in calls:
            self.ledger.deliver(each, each.num_output_tokens + 1)
        self.now += 1
        self.ledger.end_iteration(self.now)

    def end(self, call, *, completed=True):
        self.ledger.end_call(call, self.now, completed=completed)


def test_a_call_is_charged_what_it_costs():
    """Token by token, attained service adds up to the cost formula."""
    server = Server()
    call = server.call("a", prompt=7)
    for _ in range(5):
        server.step(call)
    assert call.account.attained_service == call_cost(7, 5)
    assert call.account.num_output_tokens == 5


def test_several_tokens_in_one_iteration_are_charged_each():
    """Speculative decoding may deliver several at once."""
    server = Server()
    call = server.call("a", prompt=7)
    server.ledger.deliver(call, 5)
    assert call.account.attained_service == call_cost(7, 5)


def test_tags_come_from_the_reference():
    """F = V + C / w at the first call, not at the announcement."""
    server = Server()
    server.ledger.announce(ApplicationFacts("b", predicted_cost=50.0), server.now)
    first = server.call("a", cost=100.0)
    server.step(first)
    second = server.call("b", cost=50.0, weight=1.0)
    assert first.account.virtual_finish == 100.0
    assert second.account.virtual_start == 11.0
    assert second.account.virtual_finish == 61.0


def test_calls_of_one_application_share_an_account():
    """One arrival, one tag, however many calls."""
    server = Server()
    one, two = server.call("a"), server.call("a")
    assert one.account is two.account
    assert one.account.num_open == 2
    assert len(server.ledger.clock) == 1


def test_true_costs_empty_reference_and_server_together():
    """With true costs the last application leaves the reference in the server's last iteration."""
    server = Server()
    calls = [server.call(name, prompt=10, cost=call_cost(10, 4)) for name in "ab"]
    for call in calls:  # one after the other, as the server does
        for _ in range(4):
            server.step(call)
        server.end(call)
        server.ledger.finish(call.account.app_id, server.now)
    assert len(server.ledger.clock) == 0
    assert [call.account.lateness_iterations for call in calls] == [-3, 1]


def test_an_over_predicted_application_settles_with_what_it_used():
    """Its prediction is replaced by its true cost, and the reference lets it go."""
    server = Server()
    call = server.call("a", prompt=10, cost=1e6)
    server.step(call)
    server.end(call)
    server.ledger.finish("a", server.now)
    server.ledger.end_iteration(server.now)
    assert len(server.ledger.clock) == 0
    assert server.ledger.find("a").fair_finished_iteration is not None


def test_an_early_finisher_is_provisional_until_the_reference_has_it():
    """Finished in the server, not yet in the reference: fair finish is not known."""
    server = Server()
    small = server.call("small", prompt=10, cost=call_cost(10, 2))
    large = server.call("large", prompt=10, cost=call_cost(10, 30))
    server.step(small)
    server.step(small)
    server.end(small)
    server.ledger.finish("small", server.now)
    assert small.account.fair_finished_iteration is None
    assert server.ledger.num_settling == 1
    server.step(large)
    server.step(large)
    server.step(large)
    assert small.account.fair_finished_iteration is not None
    assert small.account.lateness_iterations < 0
    assert server.ledger.num_settling == 0


def test_finish_waits_for_calls_in_flight_and_is_idempotent():
    """Told to finish while a call runs, an application ends with that call."""
    server = Server()
    call = server.call("a")
    server.step(call)
    assert server.ledger.finish("a", server.now) is True
    assert call.account.state is State.IN_FLIGHT
    server.end(call)
    assert call.account.state is State.FINISHED
    assert server.ledger.finish("a", server.now) is True
    assert server.ledger.finish("unknown", server.now) is False


def test_the_last_call_ends_its_application():
    """A call that says it is the last needs no finish."""
    server = Server()
    call = server.call("a", last=True)
    server.step(call)
    server.end(call)
    assert call.account.state is State.FINISHED


@pytest.mark.parametrize("completed", [True, False])
def test_a_call_without_an_application_leaves_with_its_end(completed):
    """Completed or aborted, it is over."""
    server = Server()
    facts = ApplicationFacts("alone", predicted_cost=9.0, is_single_call=True)
    call = server.ledger.add_call(facts, CallFacts(), "r", num_prompt_tokens=1, now=0.0)
    server.end(call, completed=completed)
    assert not server.ledger.in_flight


def test_between_calls_an_application_is_idle_and_expires():
    """After the idle timeout it is finished at the moment of its last call."""
    server = Server(idle_timeout_s=60)
    call = server.call("a")
    server.step(call)
    server.end(call)
    assert call.account.state is State.IDLE
    server.now += 59
    assert server.ledger.expire(server.now) == []
    server.now += 1
    assert server.ledger.expire(server.now) == ["a"]
    assert call.account.finished_at == 1.0
    assert not server.ledger.in_flight


def test_a_returning_application_does_not_expire():
    """A new call within the timeout keeps it, and its tag stays."""
    server = Server(idle_timeout_s=60)
    first = server.call("a")
    server.step(first)
    server.end(first)
    server.now += 50
    second = server.call("a")
    server.now += 50
    assert server.ledger.expire(server.now) == []
    assert second.account.virtual_finish == first.account.virtual_finish


def test_tool_events_keep_an_application_awake():
    """An event counts as a sign of life."""
    server = Server(idle_timeout_s=60)
    server.end(server.call("a"))
    server.now += 50
    server.ledger.note_event("a", "tool_start", "search", server.now)
    server.now += 50
    assert server.ledger.expire(server.now) == []
    assert server.ledger.find("a").tool_since_at == 50.0


def test_an_announced_application_that_never_comes_leaves_no_trace():
    """It expires without having arrived."""
    server = Server(idle_timeout_s=60)
    server.ledger.announce(ApplicationFacts("a"), server.now)
    server.now += 61
    server.ledger.expire(server.now)
    assert not server.ledger.in_flight
    assert not server.ledger.finished
    assert len(server.ledger.clock) == 0


def test_a_late_call_is_served_and_flagged():
    """A call after the end opens a new account under the same id."""
    server = Server()
    server.end(server.call("a", last=True))
    again = server.call("a")
    assert again.account.num_late == 1
    assert again.account.state is State.IN_FLIGHT


def test_announcing_a_finished_application_is_refused():
    """Its end is final for those who ask politely."""
    server = Server()
    server.end(server.call("a", last=True))
    with pytest.raises(ApplicationClosed):
        server.ledger.announce(ApplicationFacts("a"), server.now)


def test_aborted_calls_free_their_account_and_teach_nothing():
    """An aborted application settles with what it used and is no sample."""
    server = Server()
    call = server.call("a", last=True)
    server.step(call)
    server.end(call, completed=False)
    server.ledger.finish("a", server.now)
    assert not server.ledger.in_flight
    assert not server.ledger.samples


def test_a_finished_application_is_a_sample():
    """Its true cost is what predictors learn from."""
    server = Server()
    call = server.call("a", prompt=3, last=True)
    server.step(call)
    server.end(call)
    assert [sample.cost for sample in server.ledger.samples] == [call_cost(3, 1)]


def test_the_bound_of_a_single_stage():
    """2 d_max + C_max / M over the busy period."""
    server = Server()
    long = server.call("long", prompt=10, cost=call_cost(10, 8))
    for _ in range(8):
        server.step(long)
    server.end(long)
    server.ledger.finish("long", server.now)
    assert long.account.bound_iterations == 2 * 8 + call_cost(10, 8) / 1000


def test_the_bound_of_a_chain_adds_its_critical_path():
    """Two calls one after the other, 3 iterations each."""
    server = Server()
    for _ in range(2):
        call = server.call("a", prompt=10, cost=2 * call_cost(10, 3))
        for _ in range(3):
            server.step(call)
        server.end(call)
    server.ledger.finish("a", server.now)
    assert call.account.bound_iterations == 2 * 3 + 2 * call_cost(10, 3) / 1000 + 6


def test_time_running_back_is_refused():
    """The caller's clock is monotonic, or the books are wrong."""
    server = Server()
    server.call("a")
    server.now = -1.0
    with pytest.raises(ClockError):
        server.call("b")


def test_a_call_ends_once():
    """Ending it twice is refused and changes nothing."""
    server = Server()
    call = server.call("a")
    server.end(call)
    with pytest.raises(AccountingError, match="ended before"):
        server.end(call)
    assert call.account.num_open == 0


def test_a_nonsense_cost_leaves_no_trace():
    """A refused arrival opens no account."""
    server = Server()
    with pytest.raises(AccountingError):
        server.call("a", cost=float("nan"))
    assert not server.ledger.in_flight
    assert len(server.ledger.clock) == 0


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_nothing_is_left_after_thousands_of_applications(policy):
    """Books, reference and queues are empty; what is kept of the finished is bounded."""
    server = Server(policy)
    for index in range(3000):
        call = server.call(f"a{index}", prompt=5, cost=10.0 + index % 7)
        server.step(call)
        server.end(call)
        server.ledger.finish(f"a{index}", server.now)
    ledger = server.ledger
    assert not ledger.in_flight
    assert not ledger._idle
    assert ledger.num_settling == 0
    assert len(ledger.clock) == 0
    assert not ledger.clock._customers
    assert len(ledger.finished) == NUM_FINISHED_KEPT
