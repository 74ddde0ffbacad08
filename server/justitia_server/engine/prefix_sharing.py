"""
Watching vLLM's KV cache, so that a block several calls hold is charged once.

`fairness.sharing` keeps who holds what; here it is told, and what it says is put into force.

What is watched, on the objects of one scheduler:

- `add_local_computed_blocks`         a call is admitted or resumed and has hit blocks of others,
  (`SingleTypeKVCacheManager`)        those cached earlier in the same step included
- `pop_blocks_for_free` (the same)    it gives its blocks up: preempted, ended, or a failed load

Nothing is watched while calls decode, nor when they fill blocks. A block that one call holds shares
nothing, so it stays unknown until another hits it: there is no other way to come to hold it. Then
the one that holds it is looked up in vLLM's block tables. A hash names a block's whole prefix, so
who holds a block has it where it was hit, at the same index: one comparison a call. Two calls may
hold copies of one block and share a later one, so every block is compared, first with the call that
holds the one before. That is O(running calls + blocks hit), only where unknown blocks are hit; the
product where a connector pins blocks that no call holds. Reference counts would not do alone: they
count such pins, and calls that have ended.

The rule. *A step's output is charged at what was held while that step was computed*: after its
scheduling, admissions and preemptions included, and before what its own output frees. Changes are
taken when scheduling is over and put into force when that step's output comes, before any of it is
charged; asynchronously that is a step later, so they wait in line. Then each step's charges sum to
the KV tokens held by the calls that it gives a token, each counted once, p + i to a call.

A call that holds blocks and gets no token, because it is being prefilled in chunks, waits for a
remote KV cache, or (asynchronously) waits for its last token, has its part, and nobody pays it, as
nobody pays what it holds alone. One that has ended pays nothing and leaves its part to others, even
where a connector keeps its blocks for a transfer or vLLM puts off freeing them.

Only the first full-attention group is looked at: that of p + i. Other groups (sliding windows,
state space models) hold less, and are no part of p + i. Of a block hit in part vLLM makes a copy at
once: no sharing. Copies of one block, made by calls that could not hit it, are charged as held.

Whatever goes wrong is reported once; then watching ends and everybody is charged in full again.
Tested with the vLLM named in `version`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager

from ..fairness.accounts import Call
from ..fairness.sharing import SharedBlocks
from .request_queue import call_of

Share = Callable[[Call, float], None]
Report = Callable[[str, Exception], None]


def watch_sharing(scheduler: Any, share: Share, report: Report) -> PrefixSharing | None:
    """
    Begin to watch *scheduler*; None where it shares nothing.

    Args:
        scheduler: vLLM's, just built.
        share: Sets the `shared_tokens` at which a call's output is charged from now on.
        report: Told what went wrong, and where.
    """
    if not scheduler.kv_cache_manager.enable_caching:
        return None
    for manager in scheduler.kv_cache_manager.coordinator.single_type_managers:
        if type(manager) is FullAttentionManager:
            return PrefixSharing(manager, scheduler.requests, share, report)
    return None


class PrefixSharing:
    """Tells `SharedBlocks` what vLLM's calls hold, and calls what they share."""

    def __init__(
        self, manager: Any, requests: dict[str, Any], share: Share, report: Report
    ) -> None:
        """
        Watch *manager* and its block pool.

        Args:
            manager: vLLM's KV manager of a full-attention group.
            requests: The scheduler's, by id.
            share: As in `watch_sharing`.
            report: As in `watch_sharing`.
        """
        self.blocks = SharedBlocks(manager.block_size)
        self._blocks_of = manager.req_to_blocks  # by request id
        self._requests = requests
        self._share = share
        self._report = report
        self.due: deque[tuple[Any, dict[Call, float]]] = deque()  # with the step they belong to
        self._watched: list[tuple[Any, str]] = []
        self._watch(manager, "add_local_computed_blocks", self._on_hit)
        self._watch(manager, "pop_blocks_for_free", self._on_given_up)

    # -- steps ---------------------------------------------------------------------------

    def end_schedule(self, step: Any) -> None:
        """Take what changed up to here; *step* has been scheduled, and computes something."""
        self.due.append((step, self.blocks.take_changes()))

    def begin_output(self, step: Any) -> None:
        """
        Put into force what *step* changed, before its output is looked at; nothing if nothing.

        Changes: `shared_tokens` of calls. Cost: O(calls that share what changed hands).
        """
        if self.due[0][0] is step:
            for call, shared_tokens in self.due.popleft()[1].items():
                if call.is_open and call.shared_tokens != shared_tokens:
                    self._share(call, shared_tokens)

    def forget(self, call: Call) -> None:
        """Take notice that *call* has ended, whether or not its blocks are freed by now."""
        self.blocks.forget(call)

    # -- what vLLM does, as told by itself -----------------------------------------------

    def _on_hit(
        self,
        request_id: str,
        new_computed_blocks: Sequence[Any],
        num_local_computed_tokens: int,
        num_external_computed_tokens: int,
    ) -> None:
        if not num_local_computed_tokens:
            return
        hit = new_computed_blocks[: num_local_computed_tokens // self.blocks.block_size]
        block_ids = [block.block_id for block in hit if block.ref_cnt > 1]  # 1 is the hitter's
        if unknown := self.blocks.unknown(block_ids):
            self._hold_for_others(request_id, hit, unknown)
        self.blocks.hold(call_of(self._requests[request_id]), block_ids)

    def _hold_for_others(self, hitter_id: str, hit: Sequence[Any], unknown: set[int]) -> None:
        """Make known who holds the *unknown* ones of *hit*: one call, or none but ended ones."""
        others = [each for each in self._blocks_of.items() if each[0] != hitter_id]
        held: dict[str, list[int]] = {}
        for index, block in enumerate(hit):
            if block.block_id not in unknown:
                continue
            for place, (request_id, blocks) in enumerate(others):
                if index < len(blocks) and blocks[index] is block:
                    held.setdefault(request_id, []).append(block.block_id)
                    others[0], others[place] = others[place], others[0]  # likely the next one's
                    break
        for request_id, block_ids in held.items():
            if not (request := self._requests[request_id]).is_finished():
                self.blocks.hold(call_of(request), block_ids)

    def _on_given_up(self, request_id: str) -> None:
        if self.blocks:  # else nobody shares anything
            self.blocks.release(call_of(self._requests[request_id]))

    # -- watching ------------------------------------------------------------------------

    def _watch(self, owner: Any, name: str, notice: Callable[..., None]) -> None:
        """Call *notice* after each call of *owner*'s method *name*, with its arguments."""
        method = getattr(owner, name)

        @wraps(method)
        def watched(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            try:
                notice(*args, **kwargs)
            except Exception as exc:
                self._give_up(exc)
            return result

        setattr(owner, name, watched)
        self._watched.append((owner, name))

    def _give_up(self, exc: Exception) -> None:
        self._report("prefix_sharing", exc)
        for owner, name in self._watched:
            delattr(owner, name)  # the class has the method itself
        self._watched.clear()
        self.blocks.release_all()  # so that each is told of its new d, 0, in the usual way
