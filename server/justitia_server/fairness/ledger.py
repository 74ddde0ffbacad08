"""
The books: who is here, what each was promised and got, and how each stands to the reference.

The ledger keeps one account an application, feeds the fluid reference, sets the tags a policy
orders by, and settles an application when it ends. It decides nothing about memory and reads no
clock: instants are arguments.

Rules:
- An application *arrives* at its first call: F = V + C / w. Announcing it earns nothing.
- A prediction may be revised while the application runs. The reference follows every revision; the
  order only downward ones, unless told otherwise: what an over-predicted application loses by
  waiting cannot be seen, and moving tags up as well costs more mean completion time than it wins.
- On its end the prediction is replaced by what it really used. If the reference has not finished it
  yet, its fair finish is provisional and recorded when the reference has (`standings`).
- What it used beyond its tag becomes its tenant's debt (`promises`). What is used beyond the
  prediction revises it, for the reference alone.
- When no call is left in the server and nobody counts as going on, finished applications leave the
  reference: with true costs they would have left by then, so whoever is still in it is there by a
  wrong prediction.
- Idle applications: `idle`. Service may be read late: before V is looked at, `feed_sum` is asked to
  feed what the engine has delivered meanwhile, and before an account is, `read_all` to charge it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from justitia_sdk.errors import AccountingError, ApplicationClosed, ClockError

from .accounts import Account, ApplicationFacts, Call, CallFacts, State
from .attempts import Attempts
from .bound import BusyPeriod
from .feed import DeliveredFeed, Feed, NominalFeed
from .idle import IdleList
from .policies.base import Policy
from .promises import book_debt, close_tag, look_at, move_tag, open_scout_tag, open_tag
from .reference import Reference
from .samples import Samples
from .standings import Standings
from .virtual_clock import check_positive

NUM_FINISHED_KEPT = 1024
TYPICAL_OUTPUT_TOKENS = 128  # of a call of which nothing is known


@dataclass(frozen=True, slots=True)
class LedgerOptions:
    """
    What the books are kept for.

    Attributes:
        capacity: M, KV tokens the server can hold.
        block_size: KV tokens a block, for the bound.
        prefill_tokens_per_iteration: Tokens one iteration can prefill, for the bound.
        idle_grace_s: Seconds between calls in which an application counts as going on.
        idle_timeout_s: Seconds without a call after which an application is finished.
        tenant_weights: W by tenant; 1 for those not named.
        follow_up: The order follows upward revisions too.
    """

    capacity: int
    block_size: int = 1
    prefill_tokens_per_iteration: int = 8192
    idle_grace_s: float = 2.0
    idle_timeout_s: float = 600.0
    tenant_weights: Mapping[str, float] | None = None
    follow_up: bool = False


class Ledger:
    """Accounts of all applications, and the fluid reference they are measured against."""

    def __init__(self, policy: Policy, options: LedgerOptions) -> None:
        """
        Open empty books.

        Raises:
            AccountingError: A tenant's weight makes no sense.
        """
        self.policy = policy
        self.options = options
        self.reference = Reference(options.tenant_weights)
        self.feed: Feed = (
            NominalFeed(options.capacity) if policy.clock == "nominal" else DeliveredFeed()
        )
        self.standings = Standings(self.reference, self.feed)
        self.idle = IdleList(grace_s=options.idle_grace_s, timeout_s=options.idle_timeout_s)
        self.busy_period = BusyPeriod(
            capacity=options.capacity,
            block_size=options.block_size,
            prefill_tokens_per_iteration=options.prefill_tokens_per_iteration,
        )
        self.in_flight: dict[str, Account] = {}  # everyone not finished, idle ones included
        self.finished: OrderedDict[str, Account] = OrderedDict()
        self.samples = Samples()
        self.read_all: Callable[[], None] = lambda: None  # charges and feeds all that is delivered
        self.feed_sum: Callable[[], None] = lambda: self.read_all()  # feeds it, charged or not
        self.count_iterations: Callable[[], None] = lambda: None  # closes those that have passed
        self.on_fall: Callable[[Account], None] = lambda account: None  # keys may have fallen
        self.num_finished = 0
        self.num_expired = 0
        self.num_open_calls = 0
        self.over_told: list[Account] = []  # have used more than `notice_at`; looked at next
        self._num_going_on = 0  # arrived, neither paused nor finished
        self._attempts = Attempts()
        self._num_calls = 0
        self._num_arrivals = 0
        self._now = float("-inf")

    @property
    def iteration(self) -> int:
        """The engine's, the present one."""
        self.count_iterations()
        return self.standings.iteration

    # -- arrivals ------------------------------------------------------------------------

    def announce(self, facts: ApplicationFacts, now: float) -> Account:
        """
        Open an account, or return the one that *facts.app_id* has.

        What is known of an application that has already arrived is not changed.

        Raises:
            ApplicationClosed: The application has finished.
            AccountingError: A weight or cost that makes no sense.
        """
        self._tick(now)
        check_positive("weight", facts.weight)
        check_positive("cost", facts.predicted_cost)
        if (account := self.in_flight.get(facts.app_id)) is not None:
            if account.state is State.ANNOUNCED:
                account.facts = facts
            return account
        if facts.app_id in self.finished:
            raise ApplicationClosed(f"application {facts.app_id} has finished")
        return self._open(facts, now)

    def add_call(
        self, facts: ApplicationFacts, call_facts: CallFacts, request_id: str, *,
        num_prompt_tokens: int, now: float, max_output_tokens: int | None = None,
    ) -> Call:  # fmt: skip
        """
        Take a call in, opening its application's account if need be.

        A call of a finished application is served and charged under a new account.

        Raises:
            AccountingError: A weight or cost that makes no sense.
        """
        self._tick(now)
        account = self.in_flight.get(facts.app_id) or self._open(facts, now)
        if account.tag is None:
            self._arrive(account, now)
        elif account.is_paused:
            self._resume(account, now)
        if not account.num_open:
            self._set_active(account)
        account.last_active_at = now
        call = self._open_call(account, call_facts, request_id, num_prompt_tokens)
        tokens = call_facts.predicted_output_tokens or max_output_tokens or TYPICAL_OUTPUT_TOKENS
        call.predicted_cost = self.policy.cost.call_cost(num_prompt_tokens, tokens)
        if call_facts.is_scout:
            self.catch_up(now)
            open_scout_tag(call, self.reference)
        self.policy.wait(call)
        return call

    def revise(
        self, app_id: str, predicted_cost: float, now: float, *, both_ways: bool = False
    ) -> bool:
        """
        Replace the predicted cost of an application that runs. Cost: O(log n).

        Args:
            app_id: Its id.
            predicted_cost: Of all its calls, those done included; above 0.
            now: The present instant.
            both_ways: Let the order follow this revision upwards, too.

        Returns:
            Whether the order followed.

        Raises:
            AccountingError: The cost makes no sense, or the application is unknown or has finished.
        """
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None or account.tag is None:
            raise AccountingError(f"application {app_id} is not in flight: nothing to revise")
        self.read(now)
        self.standings.revise(account, predicted_cost, now)
        virtual_start = self.reference.virtual_start(app_id)
        finish = virtual_start + predicted_cost / account.facts.weight
        follows = both_ways or self.options.follow_up or finish < account.tag.virtual_finish
        if follows:
            move_tag(account, predicted_cost, virtual_start=virtual_start)
        self.on_fall(account)
        return follows

    # -- service -------------------------------------------------------------------------

    def wait(self, call: Call, now: float) -> None:
        """Take notice that *call* has begun to wait in its queue, for the first time or again."""
        call.account.enter_phase(now)

    def admit(self, call: Call, now: float) -> None:
        """Take notice that *call* is admitted to the batch, for the first time or again."""
        call.account.enter_phase(now)
        if not call.was_admitted:
            call.was_admitted = True
            self.policy.admit(call)

    def deliver(self, call: Call, num_output_tokens: int) -> None:
        """
        Charge *call* up to *num_output_tokens* output tokens, and feed that.

        Raises:
            AccountingError: Fewer tokens than already delivered.
        """
        self.feed.pending += self.charge(call, num_output_tokens)
        length = call.num_prefill_iterations + num_output_tokens
        if length > self.busy_period.longest_call:
            self.busy_period.longest_call = length

    def charge(self, call: Call, num_output_tokens: int) -> float:
        """
        Charge *call* up to *num_output_tokens* output tokens; return what it is charged now.

        To feed it, or to have it fed before, is the caller's part.

        Raises:
            AccountingError: Fewer tokens than already delivered.
        """
        num_before = call.num_output_tokens
        num_new = num_output_tokens - num_before
        if num_new <= 0:
            if num_new < 0:
                raise AccountingError(f"call {call.request_id} lost output tokens")
            return 0
        policy, account = self.policy, call.account
        service: float = policy.cost.service_between(
            call.num_prompt_tokens, num_before, num_output_tokens
        )
        if (call.shared_tokens or call.shared_before) and policy.cost.holds_memory:
            shared = call.take_shared(num_output_tokens)
            service -= shared
            account.shared_service += shared
        call.num_output_tokens = num_output_tokens
        account.attained_service += service
        account.num_output_tokens += num_new
        if account.attained_service > account.notice_at:
            account.notice_at = math.inf
            self.over_told.append(account)
        if policy.reads_service:
            policy.charge(call, num_new)
            self.on_fall(account)
        return service

    def read(self, now: float) -> None:
        """Bring accounts and reference up to what the engine has delivered."""
        self.read_all()
        self.catch_up(now)

    def catch_up(self, now: float) -> None:
        """Bring the reference up to what the engine has delivered; accounts may be read later."""
        self.feed_sum()
        self.standings.advance(now)
        while self.over_told:
            self._look_at(self.over_told.pop(), now)

    def needs_reading(self, unread: float, now: float) -> bool:
        """Tell whether someone must be looked at, *unread* being the most not charged yet."""
        return (
            self.feed.most(unread) >= self.reference.service_until_departure()
            or self.policy.reads_service
            or not self.num_open_calls
            or bool(self.over_told)
            or self.idle.next_grace_end_at <= now
        )

    def quiet_service(self) -> float:
        """
        Return below which *unread* service nobody leaves the reference; 0 where all must be read.

        Holds until the reference is fed.
        """
        if self.policy.reads_service:
            return 0
        return self.feed.room(self.reference.service_until_departure())

    def skip_iterations(self, number: int) -> None:
        """Close engine iterations in which nothing need be read. Cost: O(1)."""
        self.feed.num_iterations += number
        self.standings.iteration += number

    def end_iteration(self, now: float) -> None:
        """Close an engine iteration: charge what it delivered and feed the reference."""
        self._tick(now)
        self.feed.num_iterations += 1
        self.catch_up(now)
        self._pause_idle(now)
        self._end_busy_period(now)
        self.standings.iteration += 1
        for account in self.policy.starving(self.iteration):
            self.on_fall(account)

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
        if call.queue is not None:
            call.queue.remove(call)
        call.is_open = False
        if call.tag is not None:
            call.tag.tenant.close_tag(call.tag)
        account = call.account
        account.num_open -= 1
        if completed:
            account.num_done += self._attempts.complete(account, call.facts)
            account.is_finishing = account.is_finishing or call.facts.last
        else:
            account.num_aborted += 1
        account.enter_phase(now)
        self.num_open_calls -= 1
        self.busy_period.note_end(call)
        self.policy.end(call)
        if account.num_open == 0:
            account.last_call_ended_at = now
            account.last_call_ended_iteration = self.iteration
            if account.is_finishing or account.facts.is_single_call:
                self._finish(account, now, "finished")
            else:
                self._set_idle(account, now)

    def finish(self, app_id: str, now: float, *, reason: str = "finished") -> None:
        """
        End an application; one with calls in flight ends with the last of them.

        Raises:
            ApplicationClosed: It has finished, or been told to.
            AccountingError: It is unknown.
        """
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None:
            if app_id in self.finished:
                raise ApplicationClosed(f"application {app_id} has finished")
            raise AccountingError(f"application {app_id} is unknown")
        if account.is_finishing:
            raise ApplicationClosed(f"application {app_id} is finishing")
        if account.num_open:
            account.is_finishing = True
        else:
            self._finish(account, now, reason)
            self._end_busy_period(now)  # no iteration may come that would see to it

    def expire(self, now: float) -> list[str]:
        """Pause and finish applications idle for too long. Cost: O(paused + expired)."""
        self._tick(now)
        self.catch_up(now)
        self._pause_idle(now)
        expired = self.idle.past_timeout(now)
        for account in expired:
            self._finish(account, now, "idle_timeout")
        self.num_expired += len(expired)
        self._end_busy_period(now)
        return [account.app_id for account in expired]

    # -- questions and events ------------------------------------------------------------

    @property
    def num_settling(self) -> int:
        """Applications finished here and not yet in the reference."""
        return self.standings.num_settling

    def find(self, app_id: str) -> Account | None:
        """Return the account of *app_id*, finished or not."""
        return self.in_flight.get(app_id) or self.finished.get(app_id)

    def fair_finish_in(self, account: Account) -> float | None:
        """
        Return the iterations until *account*'s fair finish, an estimate; None once that is past.

        As if nobody else arrived, no cost changed and every iteration gave M.
        """
        service = self.standings.fair_finish_in(account)
        return None if service is None else service / self.options.capacity

    def note_event(
        self,
        app_id: str,
        kind: str,
        name: str | None,
        now: float,
        *,
        expected_s: float | None = None,
    ) -> bool:
        """
        Take notice of a stage or tool event.

        Args:
            app_id: Whose.
            kind: "stage", "tool_start" or "tool_end".
            name: Of the stage or tool.
            now: The present instant.
            expected_s: How long the tool that starts is expected to take, if that is known.

        Returns:
            Whether the application is known and not finished.
        """
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None:
            return False
        if kind == "stage":
            account.stage = name
        elif kind == "tool_start":
            account.tools.start(now, expected_s)
        else:
            account.tools.end(now)
        account.last_active_at = now
        self.idle.touch(account)
        return True

    # -- inside: accounts ----------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if not now >= self._now:
            raise ClockError(f"time ran back from {self._now} to {now}")
        self._now = now

    def _open(self, facts: ApplicationFacts, now: float) -> Account:
        account = Account(
            facts, opened_at=now, last_active_at=now, predicted_cost=facts.predicted_cost
        )
        self.in_flight[facts.app_id] = account
        self.idle.add(account, has_grace=False)
        return account

    def _open_call(
        self, account: Account, facts: CallFacts, request_id: str, num_prompt_tokens: int
    ) -> Call:
        self._num_calls += 1
        account.num_open += 1
        account.num_retries += facts.attempt > 0
        account.num_done -= self._attempts.begin(account, facts)
        account.stage = facts.stage or account.stage
        self.num_open_calls += 1
        return Call(
            request_id, account, facts, self._num_calls, num_prompt_tokens,
            num_prefill_iterations=self.busy_period.prefill_iterations(num_prompt_tokens),
            chain_before=account.longest_chain,
            depth_before=account.chain_depth,
        )  # fmt: skip

    def _set_active(self, account: Account) -> None:
        self.idle.discard(account)
        account.state = State.IN_FLIGHT

    def _set_idle(self, account: Account, now: float) -> None:
        account.state = State.IDLE
        account.last_active_at = now
        self.idle.add(account)

    def _drop(self, account: Account) -> None:
        self.in_flight.pop(account.app_id, None)
        self.idle.discard(account)

    def _look_at(self, account: Account, now: float) -> None:
        """Take notice of more use than was told, with V_0 as it is after that use."""
        look_at(account)
        if account.attained_service > account.predicted_cost:
            self.standings.revise(account, account.attained_service, now)
        self.on_fall(account)

    # -- inside: arrival, pause, end -----------------------------------------------------

    def _arrive(self, account: Account, now: float) -> None:
        facts = account.facts
        self.catch_up(now)
        account.predicted_cost = facts.predicted_cost
        try:
            self.standings.arrive(account)
        except AccountingError:
            self._drop(account)
            raise
        if (was_finished := self.finished.pop(facts.app_id, None)) is not None:
            account.num_late = was_finished.num_late + 1
            # Its end was told, and will not be again: what comes late ends with its last call.
            account.is_finishing = was_finished.end_reason == "finished"
        self._num_arrivals += 1
        self._num_going_on += 1
        account.arrival_seq = self._num_arrivals
        account.arrived_at = now
        account.arrived_iteration = self.iteration
        open_tag(account, self.reference)
        self.policy.arrive(account)

    def _pause_idle(self, now: float) -> None:
        """Pause those whose grace has ended; what they owe by now is booked and learned from."""
        for account in self.idle.past_grace(now):
            assert account.tag is not None
            account.is_paused = True
            self._num_going_on -= 1
            self.standings.pause(account, now)
            if account.attained_service > account.tag.cost:
                book_debt(account)
                self.samples.take(account, has_ended=False)
            self.on_fall(account)

    def _resume(self, account: Account, now: float) -> None:
        assert account.tag is not None
        self.catch_up(now)
        account.is_paused = False
        self._num_going_on += 1
        app_id, tag = account.app_id, account.tag
        before = self.reference.virtual_start(app_id)
        if shift := self.standings.resume(account, now):
            # Where tag and clock agreed they must go on agreeing to the last bit.
            after = self.reference.virtual_start(app_id)
            moved = after if tag.virtual_start == before else tag.virtual_start + shift
            move_tag(account, tag.cost, virtual_start=moved)

    def _finish(self, account: Account, now: float, reason: str) -> None:
        self.catch_up(now)
        self._drop(account)
        account.state = State.FINISHED
        account.end_reason = reason
        account.tools.close(account.last_active_at)  # of those left open nothing later is known
        if account.tag is None:
            return  # announced, never came: nothing to settle, nothing to remember
        self._num_going_on -= not account.is_paused
        # It was done when its last call ended, however late we are told.
        account.finished_at = account.last_call_ended_at
        account.finished_iteration = account.last_call_ended_iteration
        self.policy.finish(account)
        close_tag(account)
        self.standings.settle(account, now)
        self.busy_period.note_application(account)
        account.bound_iterations = self.busy_period.bound_of(account)
        self.finished[account.app_id] = account
        self.num_finished += 1
        if len(self.finished) > NUM_FINISHED_KEPT:
            self.finished.popitem(last=False)
        self.samples.take(account)
        self.on_fall(account)

    def _end_busy_period(self, now: float) -> None:
        """Close what is left open where nobody is served, and nobody counts as going on."""
        if self.num_open_calls or self._num_going_on:
            return
        self.standings.close(now)
        if not self.in_flight:
            self.busy_period.end()
