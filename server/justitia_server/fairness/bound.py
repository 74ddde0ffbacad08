"""
The delay bound, and what it is made of.

Against the reference with true costs, with memory taken on demand, for one tenant:

    finish - fair finish  <=  L + L_max + C_max / M            iterations

L is the application's *path*: its longest chain of calls, each alone, and d_max before each of
them but the first, since every stage may have to wait for calls let in while the one before left
memory free. L_max is the longest path. With one stage both are at most d_max, and the bound is
2 d_max + C_max / M. d_max is what the longest call takes alone, prefill included; C_max the largest
application's cost with memory rounded up to whole KV blocks; M the KV memory in tokens. All three
maxima are over the busy period, as far as it is known when an application ends.

Where the engine's own limits bind (`max_num_seqs`, the prefill budget) less than M is delivered,
and not the same for all. With R and r the most and the least service of an iteration in which
as many calls run as are let, one stage has

    finish - fair finish  <=  (1 + R / r) d_max + C_max / r.

With several tenants later arrivals in another tenant may push its earlier applications back after
they were served; that work, over M, is added.

Reference: arXiv:2510.17015 (form A of two in circulation; the other, 2 c_max / M + C_max / M, is
false: one call of p = d = 100 alone on M = 10,000 finishes in 100 iterations, not in 4.5). The
form with the bare critical path in place of L is false for several stages (docs/results/proofs.md).
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
        self.longest_call: int  # d_max, kept by the ledger, which sees every token
        self._largest_cost: float
        self._longest_path: int  # L_max for d_max as it was at the time
        self._longest_call_then: int
        self._deepest: int  # calls of the deepest chain
        self.end()

    def prefill_iterations(self, num_prompt_tokens: int) -> int:
        """Return the iterations a prompt takes before the one that gives the first output token."""
        return -(-num_prompt_tokens // self._prefill_tokens) - 1

    def note_end(self, call: Call) -> None:
        """Take notice that *call* has ended; those that start from now on may have waited."""
        account = call.account
        chain = call.chain_before + call.num_prefill_iterations + call.num_output_tokens
        is_deeper = call.depth_before >= account.chain_depth
        if chain <= account.longest_chain and not is_deeper:
            return
        account.longest_chain = max(account.longest_chain, chain)
        if is_deeper:
            account.chain_depth = call.depth_before + 1
        self._longest_path = max(self._brought_up(), self._path(account))
        if account.chain_depth > self._deepest:
            self._deepest = account.chain_depth

    def note_application(self, account: Account) -> None:
        """Take notice of what *account* has used."""
        rounding = (self._block_size - 1) * account.num_output_tokens
        self._largest_cost = max(self._largest_cost, account.attained_service + rounding)

    def bound_of(self, account: Account) -> float:
        """Return the most iterations *account* may finish after its fair finish."""
        paths = self._path(account) + self._brought_up()
        return paths + self._largest_cost / self._capacity

    def end(self) -> None:
        """Begin anew."""
        self.longest_call = 0
        self._largest_cost = 0.0
        self._longest_path = 0
        self._longest_call_then = 0
        self._deepest = 0

    def _path(self, account: Account) -> int:
        """Return L; at least d_max, which it is for one stage."""
        waits = self.longest_call * (account.chain_depth - 1)
        return max(account.longest_chain + waits, self.longest_call)

    def _brought_up(self) -> int:
        """Return L_max for d_max as it is now; where d_max grew, no less than it."""
        growth = self.longest_call - self._longest_call_then
        if growth:
            self._longest_call_then = self.longest_call
            self._longest_path += growth * max(self._deepest - 1, 0)
            self._longest_path = max(self._longest_path, self.longest_call)
        return self._longest_path
