"""
The cost of a call: KV token-time.

The unit, used by every account, clock and prediction: one KV-cache token held for one engine
iteration. A call with p prompt tokens that has produced i output tokens holds p + i of them,
so what a call costs is quadratic in its length; the compute-style p + 2d of VTC is not.
What is charged is exactly this, once an output token is first delivered; prefill and
recomputation after preemption are counted elsewhere and not charged.

Reference: Justitia, arXiv:2510.17015, section on KV token-time (there approximated p*d + d²/2).
"""

from __future__ import annotations


def call_cost(num_prompt_tokens: int, num_output_tokens: int) -> int:
    """
    Return the KV token-time of a whole call: sum over i = 1..d of (p + i) = p*d + d*(d+1)/2.

    Args:
        num_prompt_tokens: p.
        num_output_tokens: d.
    """
    return service_between(num_prompt_tokens, 0, num_output_tokens)


def service_between(num_prompt_tokens: int, num_before: int, num_after: int) -> int:
    """
    Return the KV token-time of output tokens *num_before* + 1 to *num_after*.

    Args:
        num_prompt_tokens: p.
        num_before: Output tokens already charged.
        num_after: Output tokens delivered now, at least *num_before*.
    """
    num_new = num_after - num_before
    return num_new * num_prompt_tokens + num_new * (num_before + num_after + 1) // 2
