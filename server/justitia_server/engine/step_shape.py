"""
What one engine step computes, as far as the time it takes depends on it.

The simulator asks a model of step times with it, and a live engine logs it: both mean the same,
because both get it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StepShape:
    """
    One step.

    Attributes:
        num_decoding: B, sequences that decode.
        num_kv_tokens: K, KV tokens those hold.
        chunks: (h, n) of every prompt under way: tokens computed before, and in this step.
    """

    num_decoding: int
    num_kv_tokens: int
    chunks: list[tuple[int, int]]


def shape_of(scheduled: Any, requests: Mapping[str, Any]) -> StepShape:
    """
    Return what a step computes that has just been scheduled. Cost: O(its sequences).

    Args:
        scheduled: vLLM's `SchedulerOutput`.
        requests: The scheduler's, by id; their computed tokens include the step's.
    """
    chunks: list[tuple[int, int]] = []
    num_decoding = num_kv_tokens = 0
    drafts = scheduled.scheduled_spec_decode_tokens
    for request_id, num_tokens in scheduled.num_scheduled_tokens.items():
        request = requests[request_id]
        num_computed = request.num_computed_tokens
        if num_computed > request.num_prompt_tokens and (num_tokens == 1 or request_id in drafts):
            num_decoding += 1
            num_kv_tokens += num_computed
        else:
            chunks.append((num_computed - num_tokens, num_tokens))
    return StepShape(num_decoding, num_kv_tokens, chunks)
