"""
Reading what the engine has delivered, only when somebody needs to know.

vLLM keeps the output tokens of every request, so what a call is owed can be read at any time: p + i
for each token since the last reading, in closed form. Reading all running calls in every step
would cost more than the rest of our scheduling together, and nobody needs it: accounts and virtual
time are looked at when an application arrives or ends, and when one may leave the fluid reference.

So a step keeps an upper bound of the service delivered since the last reading, two additions, and
reads when the bound reaches what the reference can take before someone leaves it. How much that is
is asked once between two events. Nobody's fair finish is dated wrongly by this: no one can have
left in a step that was not read. That somebody has used more than was predicted is noticed in a
reading; there is one in every MOST_STEPS_UNREAD steps.
"""

from __future__ import annotations

from ..fairness.accounts import Call
from ..fairness.ledger import Ledger

MOST_STEPS_UNREAD = 32


class Meter:
    """Charges the calls that run, as late as possible and never wrongly."""

    def __init__(self, ledger: Ledger, *, most_tokens_per_step: int = 1) -> None:
        """
        Read for *ledger*, which will ask for readings through `Ledger.meter`.

        Args:
            ledger: Where service is charged.
            most_tokens_per_step: Output tokens one step can give a call (speculation: several).
        """
        self._ledger = ledger
        self._most_tokens = most_tokens_per_step
        self._calls: dict[Call, None] = {}  # may have tokens not charged yet; in order of admission
        self._held: float = 0  # at most so many KV tokens are charged to them in a step
        self._unread: float = 0  # at most so much service is not charged yet
        self._quiet_service: float = 0  # while less is unread, nobody need be looked at
        self._num_steps_unread = 1  # ended since the last reading; 0: read in the present one
        ledger.meter = self.read

    def wait(self, call: Call, now: float) -> None:
        """Take notice that *call* waits from now on; what it ran before is still to be charged."""
        self._ledger.wait(call, now)

    def admit(self, call: Call, now: float) -> None:
        """Take notice that *call* runs from now on."""
        self._ledger.admit(call, now)
        if call not in self._calls:
            self._calls[call] = None
            self._held += call.num_prompt_tokens + call.num_output_tokens - call.shared_tokens

    def share(self, call: Call, shared_tokens: float) -> None:
        """Charge *call* up to now; each later token is charged *shared_tokens* less than p + i."""
        self._charge(call)
        if call in self._calls:
            self._held += call.shared_tokens - shared_tokens
        call.shared_tokens = shared_tokens

    def end_step(self, now: float) -> None:
        """Close an engine step. Cost: O(1), but for the steps that are read."""
        ledger, most = self._ledger, self._most_tokens
        self._held += most * len(self._calls)
        self._unread += most * self._held
        is_quiet = (
            self._unread < self._quiet_service
            and now < ledger.idle.next_grace_end_at
            and self._num_steps_unread < MOST_STEPS_UNREAD
        )
        if is_quiet or not self._needs_reading(now):
            ledger.skip_iteration()
        else:
            self._num_steps_unread = 1  # a reading in this step did not have its output
            ledger.end_iteration(now)
        self._num_steps_unread += 1

    def read(self) -> None:
        """Charge every call up to the tokens it has now; once an iteration is enough."""
        if not self._num_steps_unread:
            return
        self._num_steps_unread = 0
        self._unread = self._quiet_service = 0
        held: float = 0
        stopped: list[Call] = []
        for call in self._calls:
            request = call.request
            self._ledger.deliver(call, request.num_output_tokens)
            if call.queue is None or request.num_stale_output_tokens:
                held += call.num_prompt_tokens + call.num_output_tokens - call.shared_tokens
            else:
                stopped.append(call)
        for call in stopped:
            del self._calls[call]
        self._held = held

    def close(self, call: Call) -> None:
        """Charge *call* to its end."""
        self._calls.pop(call, None)
        self._charge(call)

    def _charge(self, call: Call) -> None:
        self._quiet_service = 0
        self._ledger.deliver(call, call.request.num_output_tokens)

    def _needs_reading(self, now: float) -> bool:
        ledger = self._ledger
        if self._num_steps_unread >= MOST_STEPS_UNREAD or ledger.needs_reading(self._unread, now):
            return True
        self._quiet_service = ledger.quiet_service()
        return False
