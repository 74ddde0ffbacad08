"""
Virtual token counters: serve whoever was served least, counting p + 2d tokens.

A counter a client: the prompt counts when a call is first admitted, each output token twice. A
client that comes back after having nothing waiting is lifted to the least counter among those
waiting (or, if none is, to that of the client that last stopped waiting), so that it cannot save
up. The client is the application (`vtc`), or the tenant, as in the paper (`vtc_tenant`).

Reference: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, arXiv:2401.00588,
algorithm 2 (without weights).
"""

from __future__ import annotations

from ..accounts import Account, Call
from ..cost import OUTPUT_WEIGHT
from .base import BasePolicy, Key, Victim, place_in_application


class Vtc(BasePolicy):
    """Serve the application with the least counter first."""

    name = "vtc"
    victim = Victim.LAST_ADMITTED
    reads_service = True

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._num_waiting: dict[str, int] = {}  # new calls, by client; no entry for none
        self._last_client = ""  # that stopped waiting
        self._last_counter = 0  # of that client, should it be forgotten

    def client(self, account: Account) -> str:
        """Return whose counter is charged."""
        return account.app_id

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the client."""
        return (self.client(account),)

    def key(self, call: Call, depth: int) -> Key:
        """Return (counter, arrival number), then the place in the client."""
        if depth == 1:
            return self.place(call)
        return (self._counters[self.client(call.account)], call.arrival_seq)

    def place(self, call: Call) -> Key:
        """Return the key of *call* within its client."""
        return place_in_application(call)

    def wait(self, call: Call) -> None:
        """Lift the counter of a client that had nothing waiting. Cost: O(clients waiting)."""
        client = self.client(call.account)
        if client not in self._num_waiting:
            last = self._counters.get(self._last_client, self._last_counter)
            least = min((self._counters[each] for each in self._num_waiting), default=last)
            self._counters[client] = max(self._counters.get(client, 0), least)
        self._num_waiting[client] = self._num_waiting.get(client, 0) + 1

    def admit(self, call: Call) -> None:
        """Charge the prompt."""
        self._stop_waiting(call)
        self._counters[self.client(call.account)] += call.num_prompt_tokens

    def charge(self, call: Call, num_new_tokens: int) -> None:
        """Charge output tokens."""
        self._counters[self.client(call.account)] += OUTPUT_WEIGHT * num_new_tokens

    def end(self, call: Call) -> None:
        """Let a call that was never admitted wait no more."""
        if not call.was_admitted:
            self._stop_waiting(call)

    def finish(self, account: Account) -> None:
        """Forget the application's counter."""
        counter = self._counters.pop(account.app_id, 0)
        if account.app_id == self._last_client:
            self._last_counter = counter

    def _stop_waiting(self, call: Call) -> None:
        client = self.client(call.account)
        self._num_waiting[client] -= 1
        if not self._num_waiting[client]:
            del self._num_waiting[client]
            self._last_client = client


class VtcTenant(Vtc):
    """Serve the tenant with the least counter first, its calls in the order they came."""

    name = "vtc_tenant"

    def client(self, account: Account) -> str:
        """Return the tenant."""
        return account.facts.tenant

    def place(self, call: Call) -> Key:
        """Return (arrival number,)."""
        return (call.arrival_seq,)

    def finish(self, account: Account) -> None:
        """Forget nothing: tenants are few, and come back to their counters."""
