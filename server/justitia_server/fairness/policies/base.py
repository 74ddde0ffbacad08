"""
What a policy is: an order of waiting calls, and a victim when memory runs out.

A policy sees applications arrive, calls wait, be admitted and get service; it owns whatever state
its order needs and nothing else. *Which call next* is asked here; *does it fit* is the engine's
question.

The order is a tree. A policy may put calls into groups (tenants, applications in them), outermost
first; a group stands where its first waiting call puts it. So a group's key is asked of a call:

    key(call, 0)                    of the outermost group that *call* would head
    key(call, len(groups))          of the call within its innermost group; this one never changes

and two calls are compared by the first level at which they are in different groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from ..accounts import Account, Call
from ..cost import KV_TOKEN_TIME, CostModel

Key = tuple[float, ...]


class Victim(Enum):
    """Which running call gives up its memory when none is left."""

    LAST_ADMITTED = "last admitted"  # as vLLM does first come, first served
    LAST_IN_ORDER = "last in order"  # the call the policy would serve last


class Policy(Protocol):
    """
    An order of calls. Keys are tuples that end in an arrival number; smaller is served first.

    A key may change while calls wait. Growth is noticed by itself; a *fall* must be told to the
    queue (`CallQueue.refresh`), which the ledger does whenever it changes a tag, and after every
    charge for a policy that `reads_service`.
    """

    name: str
    victim: Victim
    cost: CostModel  # what service is, in the reference and in predictions
    clock: str  # "delivered" or "nominal": what feeds the reference
    reads_service: bool  # its order follows attained service, which must then be read every step

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the names of the groups that an application's calls are in, outermost first."""

    def key(self, call: Call, depth: int) -> Key:
        """Return the key at *depth*, as things stand now."""

    def arrive(self, account: Account) -> None:
        """Take notice of an application's first call; its tag is set."""

    def wait(self, call: Call) -> None:
        """Take notice of a new call, about to wait."""

    def admit(self, call: Call) -> None:
        """Take notice that a call is admitted for the first time."""

    def charge(self, call: Call, num_new_tokens: int) -> None:
        """Take notice of output tokens delivered; told to a policy that `reads_service` only."""

    def end(self, call: Call) -> None:
        """Take notice that a call has ended."""

    def finish(self, account: Account) -> None:
        """Forget the application."""

    def starving(self, iteration: int) -> Iterable[Account]:
        """Return applications whose key has fallen because they waited; asked every iteration."""


class BasePolicy:
    """Calls in one group, nothing to note: what a policy has to say less of, it inherits."""

    name = ""
    victim = Victim.LAST_IN_ORDER
    cost = KV_TOKEN_TIME
    clock = "delivered"
    reads_service = False

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return no groups."""
        return ()

    def arrive(self, account: Account) -> None:
        """Nothing to note."""

    def wait(self, call: Call) -> None:
        """Nothing to note."""

    def admit(self, call: Call) -> None:
        """Nothing to note."""

    def charge(self, call: Call, num_new_tokens: int) -> None:
        """Nothing to note."""

    def end(self, call: Call) -> None:
        """Nothing to note."""

    def finish(self, account: Account) -> None:
        """Nothing to forget."""

    def starving(self, iteration: int) -> Iterable[Account]:
        """Nobody: keys do not follow waiting."""
        return ()


def precedes(policy: Policy, one: Call, other: Call) -> bool:
    """Tell whether *policy* serves *one* before *other*, as things stand now."""
    groups, others = policy.groups(one.account), policy.groups(other.account)
    depth = 0
    while depth < len(groups) and groups[depth] == others[depth]:
        depth += 1
    return policy.key(one, depth) < policy.key(other, depth)


def place_in_application(call: Call) -> Key:
    """Return the key of *call* among its application's: stage, critical path, arrival number."""
    facts = call.facts
    return (facts.stage_index, -facts.critical_path, call.arrival_seq)
