"""
The books: who is here, what each was promised and got, and how each stands to the reference.

The ledger keeps one account an application, feeds the fluid reference with the service delivered
in each engine iteration, sets the tags a policy orders by, and settles an application when it
ends. It decides nothing about memory and reads no clock: instants are arguments.

Rules of settlement:
- An application *arrives* at its first call: F = V + C / w. Announcing it earns nothing.
- On completion its predicted cost is replaced by what it really used. If the reference has not
  finished it yet its fair finish is provisional and recorded when the reference has.
- When no call is left in the server, finished applications leave the reference: with true costs
  they would have left by then, so whoever is still in it is there by a wrong prediction.
- Service may be read late: before V or an account is looked at, `meter` is asked to charge what the
  engine has delivered meanwhile.
- An application between calls is idle; after the idle timeout it is finished for it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from justitia_sdk.errors import AccountingError, ApplicationClosed, ClockError

from .accounts import Account, ApplicationFacts, Call, CallFacts, State
from .cost import service_between
from .policies.base import Policy
from .virtual_clock import VirtualClock

NUM_FINISHED_KEPT = 1024
NUM_SAMPLES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    """
    What one finished application really cost, for learning.

    Attributes:
        seq: Its place in the stream of samples, from 1.
        app_id: Its id.
        app_type: Its kind.
        tenant: Who was billed.
        cost: KV token-time of all its calls.
        num_calls: Its calls.
        num_output_tokens: Tokens they produced.
    """

    seq: int
    app_id: str
    app_type: str
    tenant: str
    cost: int
    num_calls: int
    num_output_tokens: int


class Ledger:
    """Accounts of all applications, and the fluid reference they are measured against."""

    def __init__(
        self,
        policy: Policy,
        *,
        capacity: int,
        prefill_tokens_per_iteration: int = 8192,
        idle_timeout_s: float = 600.0,
    ) -> None:
        """
        Open empty books.

        Args:
            policy: Told of arrivals, service and ends.
            capacity: M, KV tokens the server can hold.
            prefill_tokens_per_iteration: Tokens one iteration can prefill, for the bound.
            idle_timeout_s: Seconds without a call after which an application is finished.
        """
        self.policy = policy
        self.capacity = capacity
        self.idle_timeout_s = idle_timeout_s
        self.clock = VirtualClock()
        self.iteration = 0
        self.in_flight: dict[str, Account] = {}  # everyone not finished, idle ones included
        self.finished: OrderedDict[str, Account] = OrderedDict()
        self.samples: deque[Sample] = deque(maxlen=NUM_SAMPLES_KEPT)
        self.meter: Callable[[], None] = lambda: None  # charges what is delivered and not charged
        self.num_finished = 0
        self.num_expired = 0
        self._prefill_tokens_per_iteration = prefill_tokens_per_iteration
        self._settling: dict[str, Account] = {}  # finished here, not yet in the reference
        self._idle: OrderedDict[str, Account] = OrderedDict()  # oldest first
        self._step_service = 0
        self._num_calls = 0
        self._num_arrivals = 0
        self.num_open_calls = 0
        self._num_samples = 0
        self._longest_call = 0  # d_max and C_max over the busy period
        self._largest_cost = 0.0
        self._now = float("-inf")

    # -- arrivals ------------------------------------------------------------------------

    def announce(self, facts: ApplicationFacts, now: float) -> Account:
        """
        Open an account, or return the one that *facts.app_id* has.

        What is known of an application that has already arrived is not changed.

        Raises:
            AccountingError: A weight or cost that makes no sense.
            ApplicationClosed: The application has finished.
        """
        self._tick(now)
        if (account := self.in_flight.get(facts.app_id)) is not None:
            if account.state is State.ANNOUNCED:
                account.facts = facts
            return account
        if facts.app_id in self.finished:
            raise ApplicationClosed(f"application {facts.app_id} has finished")
        return self._open(facts, now)

    def add_call(
        self, facts: ApplicationFacts, call_facts: CallFacts, request_id: str, *,
        num_prompt_tokens: int, now: float,
    ) -> Call:  # fmt: skip
        """
        Take a call in, opening its application's account if need be.

        A call of a finished application is served and charged under a new account.

        Raises:
            AccountingError: A weight or cost that makes no sense.
        """
        self._tick(now)
        account = self.in_flight.get(facts.app_id)
        if account is None:
            was_finished = self.finished.pop(facts.app_id, None)
            account = self._open(facts, now)
            if was_finished is not None:
                account.num_late = was_finished.num_late + 1
        if account.state is State.ANNOUNCED:
            self._arrive(account, now)
        self._num_calls += 1
        call = Call(
            request_id, account, call_facts, self._num_calls, num_prompt_tokens,
            chain_before=account.longest_chain,
        )  # fmt: skip
        account.is_staged = account.is_staged or account.longest_chain > 0
        account.num_open += 1
        account.num_retries += call_facts.attempt > 0
        account.stage = call_facts.stage or account.stage
        self.num_open_calls += 1
        self._set_active(account, now)
        return call

    # -- service -------------------------------------------------------------------------

    def deliver(self, call: Call, num_output_tokens: int) -> None:
        """
        Charge *call* up to *num_output_tokens* output tokens: p + i for the i-th.

        Raises:
            AccountingError: Fewer tokens than already delivered.
        """
        num_before = call.num_output_tokens
        if num_output_tokens < num_before:
            raise AccountingError(f"call {call.request_id} lost output tokens")
        service = service_between(call.num_prompt_tokens, num_before, num_output_tokens)
        call.num_output_tokens = num_output_tokens
        account = call.account
        account.attained_service += service
        account.num_output_tokens += num_output_tokens - num_before
        self._step_service += service
        self.policy.charge(account, service)

    def catch_up(self, now: float) -> None:
        """Bring accounts and reference up to what the engine has delivered."""
        self.meter()
        service, self._step_service = self._step_service, 0
        for app_id in self.clock.advance(service):
            self._leave_reference(app_id, now)

    def end_iteration(self, now: float) -> None:
        """Close an engine iteration: feed the reference with the service it delivered."""
        self._tick(now)
        self.catch_up(now)
        if self.num_open_calls == 0:
            self._end_busy_period(now)
        self.iteration += 1

    # -- ends ----------------------------------------------------------------------------

    def end_call(self, call: Call, now: float, *, completed: bool) -> None:
        """
        Take a call out, completed or aborted.

        Raises:
            AccountingError: It has ended before.
        """
        if not call.is_open:
            raise AccountingError(f"call {call.request_id} has ended before")
        self._tick(now)
        call.is_open = False
        account = call.account
        account.num_open -= 1
        account.num_done += completed
        account.num_aborted += not completed
        account.last_call_ended_at = now
        account.last_call_ended_iteration = self.iteration
        self.num_open_calls -= 1
        self._note_length(call)
        account.is_finishing = account.is_finishing or (completed and call.facts.last)
        if account.num_open == 0:
            if account.is_finishing or account.facts.is_single_call:
                self._finish(account, now, "finished")
            else:
                self._set_idle(account, now)

    def finish(self, app_id: str, now: float, *, reason: str = "finished") -> bool:
        """
        End an application; one with calls in flight ends with the last of them.

        Idempotent: returns whether the application is known (finished or not).
        """
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None:
            return app_id in self.finished
        if account.num_open:
            account.is_finishing = True
        else:
            self._finish(account, now, reason)
        return True

    def expire(self, now: float) -> list[str]:
        """Finish applications idle for longer than the timeout. Cost: O(expired)."""
        self._tick(now)
        expired: list[str] = []
        while self._idle:
            account = next(iter(self._idle.values()))
            if now - account.last_active_at < self.idle_timeout_s:
                break
            self._finish(account, now, "idle_timeout")
            expired.append(account.app_id)
        self.num_expired += len(expired)
        if self.num_open_calls == 0:
            self._end_busy_period(now)
        return expired

    @property
    def num_settling(self) -> int:
        """Applications finished here and not yet in the reference."""
        return len(self._settling)

    def find(self, app_id: str) -> Account | None:
        """Return the account of *app_id*, finished or not."""
        return self.in_flight.get(app_id) or self.finished.get(app_id)

    def note_event(self, app_id: str, kind: str, name: str | None, now: float) -> bool:
        """Take notice of a stage or tool event; returns whether the application is known."""
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None:
            return False
        if kind == "stage":
            account.stage = name
        account.tool_since_at = now if kind == "tool_start" else None
        if app_id in self._idle:
            self._set_idle(account, now)
        return True

    # -- inside --------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if now < self._now:
            raise ClockError(f"time ran back from {self._now} to {now}")
        self._now = now

    def _open(self, facts: ApplicationFacts, now: float) -> Account:
        account = Account(facts, opened_at=now, last_active_at=now)
        self.in_flight[facts.app_id] = account
        self._idle[facts.app_id] = account
        return account

    def _arrive(self, account: Account, now: float) -> None:
        facts = account.facts
        if facts.app_id in self.clock:  # an earlier account of this id is still settling
            self._settling.pop(facts.app_id, None)
            self.clock.forget(facts.app_id)
        self.catch_up(now)
        account.virtual_start = self.clock.virtual_time
        try:
            account.virtual_finish = self.clock.arrive(
                facts.app_id, facts.predicted_cost, weight=facts.weight
            )
        except AccountingError:
            self._drop(account)
            raise
        self._num_arrivals += 1
        account.arrival_seq = self._num_arrivals
        account.arrived_at = now
        account.arrived_iteration = self.iteration
        self._largest_cost = max(self._largest_cost, facts.predicted_cost / facts.weight)
        self.policy.arrive(account)

    def _set_active(self, account: Account, now: float) -> None:
        self._idle.pop(account.app_id, None)
        account.state = State.IN_FLIGHT
        account.last_active_at = now
        account.tool_since_at = None

    def _set_idle(self, account: Account, now: float) -> None:
        if account.state is not State.ANNOUNCED:
            account.state = State.IDLE
        account.last_active_at = now
        self._idle.pop(account.app_id, None)
        self._idle[account.app_id] = account

    def _note_length(self, call: Call) -> None:
        """Keep d_max and the application's longest chain, in iterations of a call alone."""
        prefill = -(-call.num_prompt_tokens // self._prefill_tokens_per_iteration) - 1
        length = prefill + call.num_output_tokens
        self._longest_call = max(self._longest_call, length)
        account = call.account
        account.longest_chain = max(account.longest_chain, call.chain_before + length)

    def _drop(self, account: Account) -> None:
        self.in_flight.pop(account.app_id, None)
        self._idle.pop(account.app_id, None)

    def _finish(self, account: Account, now: float, reason: str) -> None:
        self.catch_up(now)
        self._drop(account)
        account.state = State.FINISHED
        account.end_reason = reason
        if account.arrived_at is None:
            return  # announced, never came: nothing to settle, nothing to remember
        # It was done when its last call ended, however late we are told.
        account.finished_at = account.last_call_ended_at
        account.finished_iteration = account.last_call_ended_iteration
        self.policy.finish(account)
        self._settle_cost(account, now)
        account.bound_iterations = self._bound(account)
        self.finished[account.app_id] = account
        self.num_finished += 1
        if len(self.finished) > NUM_FINISHED_KEPT:
            self.finished.popitem(last=False)
        self._take_sample(account)

    def _settle_cost(self, account: Account, now: float) -> None:
        """Replace the prediction by what was used; forget it once the reference has it done."""
        self._largest_cost = max(
            self._largest_cost, account.attained_service / account.facts.weight
        )
        if account.attained_service == 0:
            self.clock.forget(account.app_id)
            self._note_fair_finish(account, now)
        elif self.clock.correct(account.app_id, account.attained_service):
            account.fair_finished_at = account.fair_finished_iteration = None
            self._settling[account.app_id] = account
        else:
            self.clock.forget(account.app_id)
            if account.fair_finished_at is None:
                self._note_fair_finish(account, now)

    def _leave_reference(self, app_id: str, now: float) -> None:
        if (account := self._settling.pop(app_id, None)) is not None:
            self.clock.forget(app_id)
        else:
            account = self.in_flight[app_id]
        self._note_fair_finish(account, now)

    def _note_fair_finish(self, account: Account, now: float) -> None:
        account.fair_finished_at = now
        account.fair_finished_iteration = self.iteration

    def _end_busy_period(self, now: float) -> None:
        for app_id in list(self._settling):
            self._leave_reference(app_id, now)
        if not self.in_flight:
            self._longest_call = 0
            self._largest_cost = 0.0

    def _bound(self, account: Account) -> float:
        """
        Return the most iterations *account* may finish after its fair finish.

        2 d_max + C_max / M, and for staged applications the critical path besides, observed
        as the longest chain of its calls. d_max and C_max are maxima over the busy period.
        """
        chain = account.longest_chain if account.is_staged else 0
        return 2 * self._longest_call + self._largest_cost / self.capacity + chain

    def _take_sample(self, account: Account) -> None:
        if account.num_aborted or not account.attained_service:
            return
        self._num_samples += 1
        facts = account.facts
        self.samples.append(
            Sample(
                self._num_samples, facts.app_id, facts.app_type, facts.tenant,
                account.attained_service, account.num_done, account.num_output_tokens,
            )
        )  # fmt: skip
