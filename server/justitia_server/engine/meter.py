"""
Reading what the engine has delivered, only when somebody needs to know.

vLLM keeps the output tokens of every request, so what a call is owed can be read at any time: p + i
for each token since the last reading, in closed form. Reading all running calls in every step
would cost more than the rest of our scheduling together, and nobody needs it: accounts and virtual
time are looked at when an application arrives or ends, and when one may leave the fluid reference.

Virtual time needs the sum alone, and that is known without looking at anyone: calls that decode
get a token each in every step, so a step delivers what they hold, and they hold one token more each
time. Only those just admitted are looked at, until their first token. That all the others got one
is checked in every step by counting outputs; where it does not hold (speculation, a budget that
does not go round, an output under way when its call was preempted) the sum is an upper bound, and
whoever needs it reads.

The reference is fed when the sum reaches what it can take before someone leaves it: the *room*,
which is asked for once between two events. Until then a step adds to the sum, and nobody is looked
at. Nobody's fair finish is dated wrongly by this: no one can have left in such a step. That
somebody has used more than was predicted is noticed in a reading; there is one in every
MOST_STEPS_UNREAD steps.
"""

from __future__ import annotations

from ..fairness.accounts import Call
from ..fairness.ledger import Ledger

MOST_STEPS_UNREAD = 32


class Meter:
    """Charges the calls that run, as late as possible and never wrongly."""

    # Every step finds it cold: the model has had the caches. Slots take half the lines.
    __slots__ = (
        "_calls", "_fresh", "_held", "_idle", "_is_exact", "_ledger", "_lengths", "_most_tokens",
        "_num_closed", "_num_steps", "_read_at", "_room", "_told_at", "_uncharged", "_unfed",
        "is_under_way", "num_readings",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, *, most_tokens_per_step: int = 1) -> None:
        """
        Read for *ledger*, which will ask for sums and readings.

        Args:
            ledger: Where service is charged.
            most_tokens_per_step: Output tokens one step can give a call (speculation: several).
        """
        self._ledger = ledger
        self._idle = ledger.idle
        self._most_tokens = most_tokens_per_step
        self._calls: dict[Call, None] = {}  # may have tokens not charged yet; in order of admission
        self._fresh: dict[Call, None] = {}  # of these, given nothing since they were admitted
        self._is_exact = False  # the others got one token in each step since the last reading
        self._held: float = 0  # KV tokens these hold; at most, where not exact
        self._unfed: float = 0  # service delivered and not fed; at most, where not exact
        self._uncharged: float = 0  # the same of charging; both are too much by the same amount
        self._room: float = 0  # below which `_unfed` makes nobody leave; 0 where that is not known
        self._lengths: dict[int, int] = {}  # how many of these are so long, less the steps ended
        self._num_steps = 0  # ended
        self._read_at = -1  # steps ended when all were last read
        self.num_readings = 0  # of all calls
        self._told_at = 0  # steps ended when the ledger was last told of them
        self.is_under_way = False  # some of a step's output has been taken, perhaps not all
        self._num_closed = 0  # calls, by the output of the step under way
        ledger.read_all = self.read
        ledger.feed_sum = self.feed
        ledger.count_iterations = self.count

    # -- calls ---------------------------------------------------------------------------

    def wait(self, call: Call, now: float) -> None:
        """Take notice that *call* waits from now on; what it ran before is still to be charged."""
        self._ledger.wait(call, now)
        if call in self._calls and not call.request.num_stale_output_tokens:
            self._remove(call)

    def admit(self, call: Call, now: float) -> None:
        """Take notice that *call* runs from now on."""
        self._ledger.admit(call, now)
        if call not in self._calls:
            self._calls[call] = self._fresh[call] = None

    def share(self, call: Call, shared_tokens: float) -> None:
        """Let each later token of *call* be charged *shared_tokens* less than p + i."""
        if call in self._calls and call not in self._fresh:
            self._held += call.shared_tokens - shared_tokens
        call.share(shared_tokens, call.request.num_output_tokens)

    def close(self, call: Call) -> None:
        """Charge *call* to its end."""
        self._num_closed += self.is_under_way
        if call in self._calls:
            self._remove(call)
        else:
            self._charge(call)
        if not self._calls:
            self._room = 0  # this step is to be looked at

    # -- steps ---------------------------------------------------------------------------

    def end_step(self, now: float, num_outputs: int) -> None:
        """
        Close an engine step, whose output has been taken; `is_under_way` was set before that.

        Cost: O(1 + calls just admitted), but for the steps that are read.

        Args:
            now: The present instant.
            num_outputs: Calls that the step gave tokens, those that ended with it included.
        """
        self.is_under_way = False
        self._num_steps += 1
        if self._fresh:
            self._begin_decoding()
        num_decoding = len(self._calls) - len(self._fresh)
        if num_outputs - self._num_closed != num_decoding:
            self._is_exact = False
        self._num_closed = 0
        self._held += self._most_tokens * num_decoding
        delivered = self._most_tokens * self._held
        self._unfed += delivered
        self._uncharged += delivered
        if (
            self._unfed >= self._room
            or self._num_steps - self._read_at >= MOST_STEPS_UNREAD
            or now >= self._idle.next_grace_end_at
        ):
            self._look(now)

    def count(self) -> None:
        """Tell the ledger of the steps ended since it was last told."""
        if number := self._num_steps - self._told_at:
            self._told_at = self._num_steps
            self._ledger.skip_iterations(number)

    def feed(self) -> None:
        """Feed the reference all that was delivered. Cost: O(1) where the sum is exact."""
        if not self._is_exact:
            self.read()
            return
        self.count()
        self._pass_on()

    def read(self) -> None:
        """Charge every call up to the tokens it has now, and feed all that was charged."""
        self.count()
        if self._read_at != self._num_steps:
            self._read_at = self._num_steps
            self.num_readings += 1
            self._unfed += self._charge_all()
            self._is_exact = not self.is_under_way and self._most_tokens == 1
        self._unfed -= self._uncharged
        self._uncharged = 0
        self._pass_on()

    # -- inside --------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Close the step just ended in the books, and ask for how much nobody need be looked at."""
        ledger, is_due = self._ledger, self._num_steps - self._read_at >= MOST_STEPS_UNREAD
        ledger.skip_iterations(self._num_steps - 1 - self._told_at)
        self._told_at = self._num_steps  # the one just ended is told below
        if is_due or ledger.needs_reading(self._unfed, now):
            if is_due or ledger.policy.reads_service:
                self.read()
            ledger.end_iteration(now)
        else:
            ledger.skip_iterations(1)
        self._room = ledger.quiet_service()

    def _begin_decoding(self) -> None:
        """Look for those that the step just ended gave their first token since they came."""
        for call in list(self._fresh):
            if call.request.num_output_tokens > call.num_output_tokens:
                del self._fresh[call]
                self._held += _held_by(call)
                length = self._length_now(call)
                self._lengths[length] = self._lengths.get(length, 0) + 1

    def _charge_all(self) -> float:
        """Charge all, and let go who gets no more; return what they got."""
        charge, fresh = self._ledger.charge, self._fresh
        total: float = 0
        held: float = 0
        lengths: dict[int, int] = {}
        for call in list(self._calls):
            request = call.request
            num_tokens = request.num_output_tokens
            if num_tokens != call.num_output_tokens:
                total += charge(call, num_tokens)
                fresh.pop(call, None)
            if call.queue is not None and not request.num_stale_output_tokens:
                del self._calls[call]
                fresh.pop(call, None)
            elif call not in fresh:
                held += call.num_prompt_tokens + num_tokens - call.shared_tokens
                length = call.num_prefill_iterations + num_tokens - self._num_steps
                lengths[length] = lengths.get(length, 0) + 1
        self._held, self._lengths = held, lengths
        return total

    def _remove(self, call: Call) -> None:
        """Charge *call*, which gets no more."""
        self._charge(call)
        del self._calls[call]
        if call in self._fresh:
            del self._fresh[call]
            return
        # Of the step under way it has its token, and the others are not counted yet.
        self._held -= _held_by(call) - self.is_under_way
        if self._is_exact:
            length = self._length_now(call)
            if self._lengths[length] > 1:
                self._lengths[length] -= 1
            else:
                del self._lengths[length]

    def _charge(self, call: Call) -> None:
        num_tokens: int = call.request.num_output_tokens
        if num_tokens != call.num_output_tokens:
            service = self._ledger.charge(call, num_tokens)
            counted: float = 0
            if call in self._calls and call not in self._fresh:
                counted = service - _held_by(call) * self.is_under_way
            self._uncharged -= counted
            self._unfed += service - counted
            if self._ledger.over_told:
                self._room = 0
        length = call.num_prefill_iterations + num_tokens
        if length > self._ledger.busy_period.longest_call:
            self._ledger.busy_period.longest_call = length

    def _pass_on(self) -> None:
        """Feed what is known to be delivered; whoever asks may be about to change who is there."""
        self._room = 0
        if self._unfed > 0:  # rounding may leave less than nothing
            self._ledger.feed.pending += self._unfed
            self._unfed = 0
        self._note_longest()

    def _note_longest(self) -> None:
        longest = max(self._lengths, default=0) + self._num_steps
        if self._lengths and longest > self._ledger.busy_period.longest_call:
            self._ledger.busy_period.longest_call = longest

    def _length_now(self, call: Call) -> int:
        """Return its length less the steps ended; the one under way, if any, taken for ended."""
        return _length(call) - self._num_steps - self.is_under_way


def _held_by(call: Call) -> float:
    """Return the KV tokens that *call* is charged for one by one, as it was last charged."""
    return call.num_prompt_tokens + call.num_output_tokens - call.shared_tokens


def _length(call: Call) -> int:
    """Return the iterations it would have taken alone up to now."""
    num_output_tokens: int = call.request.num_output_tokens
    return call.num_prefill_iterations + num_output_tokens
