"""What applications really cost, for learning."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from .accounts import Account

NUM_SAMPLES_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Sample:
    """
    What one application really cost.

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
        has_ended: False where this is what it cost so far, more than was told of all of it.
        predicted_by: Number of the API process that had predicted it.
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
    has_ended: bool = True
    predicted_by: int = 0


class Samples:
    """The latest samples, numbered."""

    def __init__(self) -> None:
        self._latest: deque[Sample] = deque(maxlen=NUM_SAMPLES_KEPT)
        self._num_taken = 0

    def take(self, account: Account, *, has_ended: bool = True) -> None:
        """Sample *account*; one that was aborted or not served teaches nothing."""
        if account.num_aborted or not account.attained_service:
            return
        self._num_taken += 1
        facts, cost = account.facts, account.attained_service
        self._latest.append(
            Sample(
                self._num_taken, facts.app_id, facts.app_type, facts.tenant, cost,
                account.num_done, account.num_output_tokens, cost + account.shared_service,
                facts.declared_cost, has_ended, facts.predicted_by,
            )
        )  # fmt: skip

    def after(self, seq: int) -> list[Sample]:
        """Return the samples after number *seq*, oldest first."""
        newest_first = takewhile(lambda sample: sample.seq > seq, reversed(self._latest))
        return list(newest_first)[::-1]
