"""
The cost of a call: KV token-time, and VTC's tokens to compare with.

The unit used by accounts, clocks and predictions is one KV-cache token held for one engine
iteration. A call with p prompt tokens that has produced i output tokens holds p + i of them, so
what a call costs is quadratic in its length. What is charged is exactly this, once an output token
is first delivered; prefill and recomputation after preemption are counted elsewhere and not
charged. Where KV blocks are shared among calls, each holder is charged its part (`sharing`).

`COMPUTE` is VTC's cost p + 2d instead: the prompt with the first output token, then 2 a token.

Reference: Justitia, arXiv:2510.17015, section on KV token-time (there approximated p*d + d²/2);
VTC, arXiv:2401.00588.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OUTPUT_WEIGHT = 2  # VTC: an output token counts as two input tokens


@dataclass(frozen=True, slots=True)
class CostModel:
    """
    What calls are charged.

    Attributes:
        name: As it is shown.
        service_between: (p, tokens charged already, tokens delivered now) to service.
        holds_memory: Service is memory held, of which a call may hold less than p + i.
    """

    name: str
    service_between: Callable[[int, int, int], int]
    holds_memory: bool

    def call_cost(self, num_prompt_tokens: int, num_output_tokens: int) -> int:
        """Return the service of a whole call."""
        return self.service_between(num_prompt_tokens, 0, num_output_tokens)


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


def compute_between(num_prompt_tokens: int, num_before: int, num_after: int) -> int:
    """Return VTC's cost of output tokens *num_before* + 1 to *num_after*; arguments as above."""
    prompt = num_prompt_tokens if num_before == 0 and num_after > 0 else 0
    return prompt + OUTPUT_WEIGHT * (num_after - num_before)


KV_TOKEN_TIME = CostModel("kv_token_time", service_between, holds_memory=True)
COMPUTE = CostModel("compute", compute_between, holds_memory=False)
