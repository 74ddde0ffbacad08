"""
The delay bound, and what it is made of.

Against the reference with true costs, with memory taken on demand, for one tenant:

    finish - fair finish  <=  2 d_max + C_max / M            iterations, one stage
                              + the critical path            several stages

d_max is what the longest call takes alone, prefill included; C_max the largest application's cost
with memory rounded up to whole KV blocks; both are maxima over the busy period. M is the KV memory
in tokens. Where the engine's own limits bind (`max_num_seqs`, the prefill budget), less than M is
delivered to the application in turn and M is the memory its calls could hold within those limits.

Reference: arXiv:2510.17015 (form A of two in circulation; the other, 2 c_max / M + C_max / M, is
false: one call of p = d = 100 alone on M = 10,000 finishes in 100 iterations, not in 4.5).
"""

from __future__ import annotations

from .accounts import Account, Call


class BusyPeriod:
    """The maxima of the present busy period."""

    def __init__(
        self, *, capacity: int, block_size: int, prefill_tokens_per_iteration: int
    ) -> None:
        self._capacity = capacity
        self._block_size = block_size
        self._prefill_tokens = prefill_tokens_per_iteration
        self.longest_call = 0  # kept by the ledger, which sees every token
        self.largest_cost = 0.0

    def prefill_iterations(self, num_prompt_tokens: int) -> int:
        """Return the iterations a prompt takes before the one that gives the first output token."""
        return -(-num_prompt_tokens // self._prefill_tokens) - 1

    def note_end(self, call: Call) -> None:
        """Take notice that *call* has ended; those that start from now on may have waited."""
        chain = call.chain_before + call.num_prefill_iterations + call.num_output_tokens
        call.account.longest_chain = max(call.account.longest_chain, chain)

    def note_application(self, account: Account) -> None:
        """Take notice of what *account* has used."""
        rounding = (self._block_size - 1) * account.num_output_tokens
        self.largest_cost = max(self.largest_cost, account.attained_service + rounding)

    def bound_of(self, account: Account) -> float:
        """Return the most iterations *account* may finish after its fair finish."""
        chain = account.longest_chain if account.is_staged else 0
        return 2 * self.longest_call + self.largest_cost / self._capacity + chain

    def end(self) -> None:
        """Begin anew."""
        self.longest_call = 0
        self.largest_cost = 0.0
