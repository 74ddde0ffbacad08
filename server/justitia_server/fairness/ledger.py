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
- One that has used GUARD_FACTOR times what its tag was formed with is tagged by what it has used.
- On its end the prediction is replaced by what it really used. If the reference has not finished it
  yet, its fair finish is provisional and recorded when the reference has.
- What it used beyond its tag becomes its tenant's debt, even where the tag was moved up afterwards;
  what it used less pays debt back (up to what it used). Tags of that tenant's later applications
  begin so much further on against other tenants. Within a tenant nobody pays for somebody else's
  wrong prediction.
- When no call is left in the server, finished applications leave the reference: with true costs
  they would have left by then, so whoever is still in it is there by a wrong prediction.
- Idle applications: `idle`. Service may be read late: before V or an account is looked at, `meter`
  is asked to charge what the engine has delivered meanwhile.

With true costs told at arrival the reference is the shadow reference that fairness is measured
against. With predictions it is the best that is known: exact for an application once every one
that was backlogged with it has ended.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from justitia_sdk.errors import AccountingError, ApplicationClosed, ClockError

from .accounts import Account, ApplicationFacts, Call, CallFacts, State
from .bound import BusyPeriod
from .feed import DeliveredFeed, Feed, NominalFeed
from .idle import IdleList
from .policies.base import Policy
from .reference import Reference
from .virtual_clock import check_positive

NUM_FINISHED_KEPT = 1024
NUM_SAMPLES_KEPT = 4096
GUARD_FACTOR = 5.0
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


@dataclass(frozen=True, slots=True)
class Sample:
    """
    What one finished application really cost, for learning.

    Attributes:
        seq: Its place in the stream of samples, from 1.
        app_id: Its id.
        app_type: Its kind.
        tenant: Who was billed.
        cost: Service of all its calls, as charged.
        num_calls: Its calls.
        num_output_tokens: Tokens they produced.
        unshared_cost: What it would have been charged had no other call held its KV blocks.
        declared_cost: What its plan had said, taken at its word; 0 where none was declared.
    """

    seq: int
    app_id: str
    app_type: str
    tenant: str
    cost: float
    num_calls: int
    num_output_tokens: int
    unshared_cost: float
    declared_cost: float = 0.0


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
        self.idle = IdleList(grace_s=options.idle_grace_s, timeout_s=options.idle_timeout_s)
        self.busy_period = BusyPeriod(
            capacity=options.capacity,
            block_size=options.block_size,
            prefill_tokens_per_iteration=options.prefill_tokens_per_iteration,
        )
        self.iteration = 0
        self.in_flight: dict[str, Account] = {}  # everyone not finished, idle ones included
        self.finished: OrderedDict[str, Account] = OrderedDict()
        self.samples: deque[Sample] = deque(maxlen=NUM_SAMPLES_KEPT)
        self.meter: Callable[[], None] = lambda: None  # charges what is delivered and not charged
        self.on_fall: Callable[[Account], None] = lambda account: None  # keys may have fallen
        self.num_finished = 0
        self.num_expired = 0
        self.num_open_calls = 0
        self._settling: dict[str, Account] = {}  # finished here, not yet in the reference
        self._num_calls = 0
        self._num_arrivals = 0
        self._num_samples = 0
        self._now = float("-inf")

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
        if account.state is State.ANNOUNCED:
            self._arrive(account, now)
        elif account.is_paused:
            self._resume(account, now)
        call = self._open_call(account, call_facts, request_id, num_prompt_tokens)
        tokens = call_facts.predicted_output_tokens or max_output_tokens or TYPICAL_OUTPUT_TOKENS
        call.predicted_cost = self.policy.cost.call_cost(num_prompt_tokens, tokens)
        if call_facts.is_scout:
            self._tag_scout(call, now)
        self._set_active(account, now)
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
        self.catch_up(now)
        is_backlogged = self.reference.correct(app_id, predicted_cost)
        self._note_standing(account, now, is_backlogged=is_backlogged)
        account.predicted_cost = predicted_cost
        virtual_start = self.reference.virtual_start(app_id)
        finish = virtual_start + predicted_cost / account.facts.weight
        follows = both_ways or self.options.follow_up or finish < account.tag.virtual_finish
        if follows:
            self._retag(account, predicted_cost, virtual_start=virtual_start)
        self.on_fall(account)
        return follows

    # -- service -------------------------------------------------------------------------

    def admit(self, call: Call) -> None:
        """Take notice that *call* is admitted to the batch, for the first time or again."""
        if not call.was_admitted:
            call.was_admitted = True
            self.policy.admit(call)

    def deliver(self, call: Call, num_output_tokens: int) -> None:
        """
        Charge *call* up to *num_output_tokens* output tokens.

        Raises:
            AccountingError: Fewer tokens than already delivered.
        """
        num_new = num_output_tokens - call.num_output_tokens
        if num_new <= 0:
            if num_new < 0:
                raise AccountingError(f"call {call.request_id} lost output tokens")
            return
        policy, account = self.policy, call.account
        service: float = policy.cost.service_between(
            call.num_prompt_tokens, call.num_output_tokens, num_output_tokens
        )
        if call.shared_tokens and policy.cost.holds_memory:
            shared = num_new * call.shared_tokens
            service -= shared
            account.shared_service += shared
        call.num_output_tokens = num_output_tokens
        account.attained_service += service
        account.num_output_tokens += num_new
        self.feed.pending += service
        length = call.num_prefill_iterations + num_output_tokens
        if length > self.busy_period.longest_call:
            self.busy_period.longest_call = length
        if account.attained_service > account.guard_at:
            self._retag(account, account.attained_service)
            self.on_fall(account)
        if policy.reads_service:
            policy.charge(call, num_new)
            self.on_fall(account)

    def catch_up(self, now: float) -> None:
        """Bring accounts and reference up to what the engine has delivered."""
        self.meter()
        for app_id in self.reference.advance(self.feed.take()):
            self._leave_reference(app_id, now)

    def needs_reading(self, unread: float, now: float) -> bool:
        """Tell whether someone must be looked at, *unread* being the most not charged yet."""
        return (
            self.feed.most(unread) >= self.reference.service_until_departure()
            or self.policy.reads_service
            or not self.num_open_calls
            or self.idle.next_grace_end_at <= now
        )

    def skip_iteration(self) -> None:
        """Close an engine iteration in which nothing need be read. Cost: O(1)."""
        self.feed.end_iteration()
        self.iteration += 1

    def end_iteration(self, now: float) -> None:
        """Close an engine iteration: charge what it delivered and feed the reference."""
        self._tick(now)
        self.feed.end_iteration()
        self.catch_up(now)
        self._pause_idle(now)
        if self.num_open_calls == 0:
            self._end_busy_period(now)
        self.iteration += 1
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
        call.is_open = False
        if call.tag is not None:
            call.tag.tenant.close_tag(call.tag)
        account = call.account
        account.num_open -= 1
        account.num_done += completed
        account.num_aborted += not completed
        account.last_call_ended_at = now
        account.last_call_ended_iteration = self.iteration
        self.num_open_calls -= 1
        self.busy_period.note_end(call)
        self.policy.end(call)
        account.is_finishing = account.is_finishing or (completed and call.facts.last)
        if account.num_open == 0:
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
            if self.num_open_calls == 0:  # no iteration may come that would see to it
                self._end_busy_period(now)

    def expire(self, now: float) -> list[str]:
        """Finish applications idle for longer than the timeout. Cost: O(expired)."""
        self._tick(now)
        expired = self.idle.past_timeout(now)
        for account in expired:
            self._finish(account, now, "idle_timeout")
        self.num_expired += len(expired)
        if self.num_open_calls == 0:
            self._end_busy_period(now)
        return [account.app_id for account in expired]

    # -- questions and events ------------------------------------------------------------

    @property
    def num_settling(self) -> int:
        """Applications finished here and not yet in the reference."""
        return len(self._settling)

    def find(self, app_id: str) -> Account | None:
        """Return the account of *app_id*, finished or not."""
        return self.in_flight.get(app_id) or self.finished.get(app_id)

    def fair_finish_in(self, account: Account) -> float | None:
        """
        Return the iterations until *account*'s fair finish, an estimate; None once that is past.

        As if nobody else arrived, no cost changed and every iteration gave M.
        """
        if account.fair_finished_iteration is not None or account.app_id not in self.reference:
            return None
        service = self.reference.service_until_fair_finish(account.app_id)
        return service / self.options.capacity

    def note_event(self, app_id: str, kind: str, name: str | None, now: float) -> bool:
        """Take notice of a stage or tool event; returns whether the application is known."""
        self._tick(now)
        account = self.in_flight.get(app_id)
        if account is None:
            return False
        if kind == "stage":
            account.stage = name
        account.tool_since_at = now if kind == "tool_start" else None
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
        account.is_staged = account.is_staged or account.longest_chain > 0
        account.num_open += 1
        account.num_retries += facts.attempt > 0
        account.stage = facts.stage or account.stage
        self.num_open_calls += 1
        return Call(
            request_id, account, facts, self._num_calls, num_prompt_tokens,
            num_prefill_iterations=self.busy_period.prefill_iterations(num_prompt_tokens),
            chain_before=account.longest_chain,
        )  # fmt: skip

    def _set_active(self, account: Account, now: float) -> None:
        self.idle.discard(account)
        account.state = State.IN_FLIGHT
        account.last_active_at = now
        account.tool_since_at = None

    def _set_idle(self, account: Account, now: float) -> None:
        account.state = State.IDLE
        account.last_active_at = now
        self.idle.add(account)

    def _drop(self, account: Account) -> None:
        self.in_flight.pop(account.app_id, None)
        self.idle.discard(account)

    # -- inside: tags and the reference --------------------------------------------------

    def _arrive(self, account: Account, now: float) -> None:
        facts, reference = account.facts, self.reference
        self.catch_up(now)
        if facts.app_id in reference:  # an earlier account of this id is still settling
            self._settling.pop(facts.app_id, None)
            reference.forget(facts.app_id)
        cost = account.predicted_cost = facts.predicted_cost
        try:
            reference.arrive(facts.app_id, facts.tenant, cost, weight=facts.weight)
        except AccountingError:
            self._drop(account)
            raise
        if (was_finished := self.finished.pop(facts.app_id, None)) is not None:
            account.num_late = was_finished.num_late + 1
        self._num_arrivals += 1
        account.arrival_seq = self._num_arrivals
        account.arrived_at = now
        account.arrived_iteration = self.iteration
        tenant = reference.tenant(facts.tenant)
        account.tag = tenant.open_tag(
            cost, facts.weight, virtual_start=tenant.clock.virtual_time, seq=account.arrival_seq
        )
        account.guard_at = GUARD_FACTOR * cost
        self.policy.arrive(account)

    def _tag_scout(self, call: Call, now: float) -> None:
        self.catch_up(now)
        facts = call.account.facts
        tenant = self.reference.tenant(facts.tenant)
        call.tag = tenant.open_tag(
            call.predicted_cost,
            facts.weight,
            virtual_start=tenant.clock.virtual_time,
            seq=call.account.arrival_seq,
        )

    def _retag(self, account: Account, cost: float, *, virtual_start: float | None = None) -> None:
        tag = account.tag
        assert tag is not None
        # What was used before the tag is moved up to cover it is owed all the same.
        account.untold_service += max(min(account.attained_service, cost) - tag.cost, 0)
        tag.tenant.move_tag(tag, cost=cost, virtual_start=virtual_start)
        account.guard_at = GUARD_FACTOR * cost

    def _pause_idle(self, now: float) -> None:
        for account in self.idle.past_grace(now):
            account.is_paused = True
            is_backlogged = self.reference.pause(account.app_id, account.attained_service)
            self._note_standing(account, now, is_backlogged=is_backlogged)
            self.on_fall(account)

    def _resume(self, account: Account, now: float) -> None:
        assert account.tag is not None
        self.catch_up(now)
        account.is_paused = False
        app_id, tag = account.app_id, account.tag
        before = self.reference.virtual_start(app_id)
        shift = self.reference.resume(app_id)
        is_backlogged = self.reference.is_backlogged(app_id)
        self._note_standing(account, now, is_backlogged=is_backlogged)
        if shift:
            # Where tag and clock agreed they must go on agreeing to the last bit.
            after = self.reference.virtual_start(app_id)
            moved = after if tag.virtual_start == before else tag.virtual_start + shift
            self._retag(account, tag.cost, virtual_start=moved)

    def _note_standing(self, account: Account, now: float, *, is_backlogged: bool) -> None:
        """Date the fair finish of one that is in the reference no more; undate it otherwise."""
        if is_backlogged:
            account.fair_finished_at = account.fair_finished_iteration = None
        elif account.fair_finished_iteration is None:
            account.fair_finished_at = now
            account.fair_finished_iteration = self.iteration

    def _leave_reference(self, app_id: str, now: float) -> None:
        if (account := self._settling.pop(app_id, None)) is not None:
            self.reference.forget(app_id)
        else:
            account = self.in_flight[app_id]
        self._note_standing(account, now, is_backlogged=False)

    # -- inside: the end -----------------------------------------------------------------

    def _finish(self, account: Account, now: float, reason: str) -> None:
        self.catch_up(now)
        self._drop(account)
        account.state = State.FINISHED
        account.end_reason = reason
        if account.tag is None:
            return  # announced, never came: nothing to settle, nothing to remember
        # It was done when its last call ended, however late we are told.
        account.finished_at = account.last_call_ended_at
        account.finished_iteration = account.last_call_ended_iteration
        self.policy.finish(account)
        self._settle(account, now)
        account.bound_iterations = self.busy_period.bound_of(account)
        self.finished[account.app_id] = account
        self.num_finished += 1
        if len(self.finished) > NUM_FINISHED_KEPT:
            self.finished.popitem(last=False)
        self._take_sample(account)
        self.on_fall(account)

    def _settle(self, account: Account, now: float) -> None:
        """Replace the prediction by what was used; book the difference to the tenant."""
        assert account.tag is not None
        used, tag = account.attained_service, account.tag
        tag.tenant.close_tag(tag)
        tag.tenant.add_debt(max(account.untold_service + used - tag.cost, -used))
        self.busy_period.note_application(account)
        is_backlogged = used > 0 and self.reference.settle(account.app_id, used)
        self._note_standing(account, now, is_backlogged=is_backlogged)
        if is_backlogged:
            self._settling[account.app_id] = account
        else:
            self.reference.forget(account.app_id)

    def _end_busy_period(self, now: float) -> None:
        for app_id in list(self._settling):
            self._leave_reference(app_id, now)
        if not self.in_flight:
            self.busy_period.end()

    def _take_sample(self, account: Account) -> None:
        if account.num_aborted or not account.attained_service:
            return
        self._num_samples += 1
        facts = account.facts
        self.samples.append(
            Sample(
                self._num_samples, facts.app_id, facts.app_type, facts.tenant,
                account.attained_service, account.num_done, account.num_output_tokens,
                account.attained_service + account.shared_service, facts.declared_cost,
            )
        )  # fmt: skip
