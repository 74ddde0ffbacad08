"""
The books without an engine: a ledger, a queue, and a clock wound by hand.

What an engine would tell them is told in its order: tokens are delivered, calls end, then the
iteration ends. An iteration lasts a second; nobody is idle for too long unless asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from justitia_server.fairness.accounts import ApplicationFacts, Call, CallFacts, State
from justitia_server.fairness.call_queue import CallQueue
from justitia_server.fairness.ledger import Ledger, LedgerOptions
from justitia_server.fairness.policies.base import Policy
from justitia_server.fairness.policies.registry import make_policy


class Books:
    """A ledger, the queue its calls wait in, and the present instant."""

    def __init__(self, policy: str | Policy = "justitia", **options) -> None:
        self.policy = make_policy(policy) if isinstance(policy, str) else policy
        options = {"capacity": 1000, "idle_grace_s": math.inf, **options}
        self.ledger = Ledger(self.policy, LedgerOptions(**options))
        self.queue = CallQueue(self.policy)
        self.ledger.on_fall = self.queue.refresh
        self.now = 0.0
        self.num_calls = 0

    # -- what an engine does -------------------------------------------------------------

    def call(
        self, app_id, *, prompt=10, cost=100.0, weight=1.0, tenant="default", output=None,
        is_single_call=False, **facts,
    ) -> Call:  # fmt: skip
        """Let a call arrive, and wait."""
        self.num_calls += 1
        application = ApplicationFacts(
            app_id,
            tenant=tenant,
            weight=weight,
            predicted_cost=cost,
            is_single_call=is_single_call,
        )
        call = self.ledger.add_call(
            application,
            CallFacts(predicted_output_tokens=output, **facts),
            f"r{self.num_calls}",
            num_prompt_tokens=prompt,
            now=self.now,
        )
        self.wait(call)
        return call

    def wait(self, call: Call) -> None:
        """Put *call* into the queue: it is new, or preempted."""
        self.queue.add(call)
        self.ledger.wait(call, self.now)

    def admit(self, call: Call) -> None:
        """Take *call* out of the queue and into the batch."""
        self.queue.remove(call)
        self.ledger.admit(call, self.now)

    def deliver(self, call: Call, num_tokens: int = 1) -> None:
        """Give *call* more tokens."""
        self.admit(call)
        self.ledger.deliver(call, call.num_output_tokens + num_tokens)

    def step(self, *calls: Call, ends=()) -> None:
        """Pass an iteration in which *calls* get a token each, and *ends* end."""
        self.now += 1
        for call in calls:
            self.deliver(call)
        for call in ends:
            self.end(call)
        self.ledger.end_iteration(self.now)

    def end(self, call: Call, *, completed: bool = True) -> None:
        """End *call*, waiting or running."""
        self.queue.remove(call)
        self.ledger.end_call(call, self.now, completed=completed)

    # -- in one go -----------------------------------------------------------------------

    def complete(self, call: Call, num_tokens: int) -> None:
        """Serve *call* alone, a token an iteration, to its end."""
        for _ in range(num_tokens - 1):
            self.step(call)
        self.step(call, ends=[call])

    def spend(self, app_id, service: int, **told) -> Call:
        """Serve a call that costs *service*, in one iteration: p = *service* - 1, one token."""
        call = self.call(app_id, prompt=service - 1, **told)
        self.complete(call, 1)
        return call

    def keep_busy(self) -> Call:
        """Open an application, "rest", so large that it stays, with a call that stays."""
        return self.call("rest", cost=1_000_000)

    # -- questions -----------------------------------------------------------------------

    def clock(self, tenant="default"):
        """Return a tenant's clock, at the present instant."""
        self.ledger.catch_up(self.now)
        return self.ledger.reference.tenant(tenant).clock

    @property
    def virtual_time(self) -> float:
        """V of the one tenant."""
        return self.clock().virtual_time

    def fair_finish(self, app_id) -> float:
        """Return V at which the reference is done with an application of the one tenant."""
        return self.clock().virtual_finish(app_id)


KINDS = [
    "call", "admit", "preempt", "serve", "complete", "abort",
    "revise", "step", "wait", "finish", "expire",
]  # fmt: skip
NUM_TENANTS = 3


class Life:
    """
    Whatever may happen to the books, one event after the other, in exact arithmetic.

    An event is (kind, which, amount); one that makes no sense at the moment is passed over.
    """

    def __init__(self, policy: str | Policy, *, num_tenants: int = NUM_TENANTS) -> None:
        self._num_tenants = num_tenants
        weights = {f"t{number}": Fraction(number + 1) for number in range(num_tenants)}
        self.books = Books(policy, tenant_weights=weights, idle_grace_s=2, idle_timeout_s=60)
        self.waiting: list[Call] = []
        self.running: list[Call] = []

    def happen(self, kind: str, which: int, amount: int) -> None:
        """Let one event happen."""
        event: Callable[[int, int], None] = getattr(self, f"_{kind}")
        event(which, amount)

    def close(self) -> None:
        """End everything, and pass so many iterations that whatever is forgotten late is."""
        while self.waiting or self.running:
            self._abort(0, 0)
            self._complete(0, 0)
        for app_id in list(self.books.ledger.in_flight):
            self.books.ledger.finish(app_id, self.books.now)
        for _ in range(1200):
            self.books.step()

    def _call(self, which: int, amount: int) -> None:
        call = self.books.call(
            f"a{which}",
            tenant=f"t{which % self._num_tenants}",
            prompt=amount,
            output=amount,
            cost=Fraction(amount * (which + 1)),
            weight=Fraction(which % 2 + 1),
            stage_index=amount % 3,
            critical_path=amount % 5,
            is_scout=amount % 4 == 0,
        )
        self.waiting.append(call)

    def _admit(self, which: int, amount: int) -> None:
        if self.waiting:
            call = self.books.queue.pop()
            self.books.ledger.admit(call, self.books.now)
            self.waiting.remove(call)
            self.running.append(call)

    def _preempt(self, which: int, amount: int) -> None:
        if self.running:
            self.waiting.append(self.running.pop(which % len(self.running)))
            self.books.wait(self.waiting[-1])

    def _serve(self, which: int, amount: int) -> None:
        if self.running:
            self.books.deliver(self.running[which % len(self.running)], amount)

    def _complete(self, which: int, amount: int) -> None:
        if self.running:
            self.books.end(self.running.pop(which % len(self.running)))

    def _abort(self, which: int, amount: int) -> None:
        if self.waiting:
            self.books.end(self.waiting.pop(which % len(self.waiting)), completed=False)

    def _revise(self, which: int, amount: int) -> None:
        account = self.books.ledger.in_flight.get(f"a{which}")
        if account is not None and account.state is not State.ANNOUNCED:
            cost = Fraction(amount * amount, 2)
            self.books.ledger.revise(
                account.app_id, cost, self.books.now, both_ways=amount % 2 == 0
            )

    def _step(self, which: int, amount: int) -> None:
        self.books.step()

    def _wait(self, which: int, amount: int) -> None:
        self.books.now += 3
        self.books.step()

    def _finish(self, which: int, amount: int) -> None:
        account = self.books.ledger.in_flight.get(f"a{which}")
        if account is not None and not account.is_finishing:
            self.books.ledger.finish(account.app_id, self.books.now)

    def _expire(self, which: int, amount: int) -> None:
        self.books.now += 60
        self.books.ledger.expire(self.books.now)
