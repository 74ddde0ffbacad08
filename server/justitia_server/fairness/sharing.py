"""
KV blocks that several calls hold: who holds which, and what of them others are charged for.

A block is charged once, split evenly among the calls that hold it. So a call is charged p + i - d
for its output token i, with d, its *shared tokens*, summed over the full blocks it holds:

    d = sum of block_size * (1 - 1/n),    n the number of calls that hold the block.

Where every holder delivers one token, the charges sum to the KV tokens held, each counted once.

A block with one holder adds nothing to d, so it need not be known here before it has a second.

Blocks are kept in *segments*: all blocks with one set of holders. A hundred samples of one prompt
are one segment for the prompt, however long, and at most one for each sample's own blocks, and d is
formed from a call's few segments whenever it is asked for: no sum drifts.

A change of n changes d of *every* holder. So changes are gathered and taken once an engine step
(`take_changes`): many calls entering one segment cost its holders once, not once for each. When
what is taken comes into force is the caller's rule (`engine.prefix_sharing`); what a call has
delivered before must be charged at the d it had.

Units: KV tokens; blocks by their ids. No block stays here longer than a call holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from .accounts import Call


class _Segment:
    """Blocks with the same holders, of which there is at least one."""

    __slots__ = ("block_ids", "holders")

    def __init__(self, block_ids: set[int], holders: dict[Call, None]) -> None:
        self.block_ids = block_ids
        self.holders = holders  # in order of their coming


class SharedBlocks:
    """Which calls hold which full KV blocks, and d of each."""

    def __init__(self, block_size: int) -> None:
        """Begin with nobody holding anything; blocks have *block_size* KV tokens."""
        self.block_size = block_size
        self._segment_of: dict[int, _Segment] = {}  # by block id
        self._segments_of: dict[Call, dict[_Segment, None]] = {}
        self._changed_segments: dict[_Segment, None] = {}  # have other holders than when last told
        self._let_go: dict[Call, None] = {}  # released since then, and may come back

    def __len__(self) -> int:
        return len(self._segment_of)

    @property
    def has_changed(self) -> bool:
        """Whether d of anyone may have changed since `take_changes`."""
        return bool(self._changed_segments or self._let_go)

    def unknown(self, block_ids: Iterable[int]) -> set[int]:
        """Return those of *block_ids* that nobody is known to hold. Cost: O(they)."""
        return set(block_ids).difference(self._segment_of)

    def hold(self, call: Call, block_ids: Iterable[int]) -> None:
        """
        Take notice that *call* holds *block_ids* from now on.

        Those that others hold it shares with them; those that nobody holds are its own; those it
        holds already it goes on holding.

        Changes: d of the holders of what it shares; nobody's for blocks of its own.
        Cost: O(blocks), and O(holders) where it shares a part of a segment only.
        """
        for segment, group in groupby(block_ids, self._segment_of.get):
            if segment is None:
                self._hold_alone(call, group)
            elif call not in segment.holders:
                self._join(call, self._part(segment, set(group)))

    def release(self, call: Call) -> None:
        """
        Take notice that *call* holds nothing any more; nothing happens if it held nothing.

        Changes: d of *call*, to 0, and of those it shared with. Cost: O(its own blocks + segments).
        """
        for segment in self._segments_of.pop(call, ()):
            del segment.holders[call]
            if segment.holders:
                self._changed_segments[segment] = None
                self._unite(segment)
            else:
                self._changed_segments.pop(segment, None)
                for block_id in segment.block_ids:
                    del self._segment_of[block_id]
            self._let_go[call] = None

    def forget(self, call: Call) -> None:
        """Release *call*, which will not come back: its own d is told no more."""
        if call in self._segments_of:
            self.release(call)
        self._let_go.pop(call, None)

    def release_all(self) -> None:
        """Release every call."""
        for call in list(self._segments_of):
            self.release(call)

    def shared_tokens(self, call: Call) -> float:
        """Return d of *call*, in KV tokens; 0 for one that holds nothing. Cost: O(its segments)."""
        shared_blocks = 0.0
        for segment in self._segments_of.get(call, ()):
            num_holders = len(segment.holders)
            if num_holders > 1:
                shared_blocks += len(segment.block_ids) * (num_holders - 1) / num_holders
        return self.block_size * shared_blocks

    def take_changes(self) -> dict[Call, float]:
        """
        Return d, as it is now, of every call whose d may have changed since the last taking.

        Changes: what is gathered; it begins anew. Cost: O(holders of the segments that changed).
        """
        if not self.has_changed:
            return {}
        calls = self._let_go
        for segment in self._changed_segments:
            calls.update(segment.holders)
        self._changed_segments, self._let_go = {}, {}
        return {call: self.shared_tokens(call) for call in calls}

    # -- segments ------------------------------------------------------------------------

    def _hold_alone(self, call: Call, block_ids: Iterable[int]) -> None:
        segments = self._segments_of.setdefault(call, {})
        for own in segments:
            if len(own.holders) == 1:
                break
        else:
            own = _Segment(set(), {call: None})
            segments[own] = None
        for block_id in block_ids:
            own.block_ids.add(block_id)
            self._segment_of[block_id] = own

    def _join(self, call: Call, segment: _Segment) -> None:
        segment.holders[call] = None
        self._segments_of.setdefault(call, {})[segment] = None
        self._changed_segments[segment] = None

    def _part(self, segment: _Segment, block_ids: set[int]) -> _Segment:
        """Make *block_ids*, some or all of *segment*, a segment of their own and return it."""
        if len(block_ids) == len(segment.block_ids):
            return segment
        segment.block_ids -= block_ids
        part = _Segment(block_ids, dict(segment.holders))
        self._segment_of.update(dict.fromkeys(block_ids, part))
        for holder in part.holders:
            self._segments_of[holder][part] = None
        return part

    def _unite(self, segment: _Segment) -> None:
        """Unite *segment* with the one that has the same holders since a call left it, if any."""
        a_holder = next(iter(segment.holders))
        for other in self._segments_of[a_holder]:
            if other.holders == segment.holders and other is not segment:
                break
        else:
            return
        small, large = sorted((segment, other), key=lambda each: len(each.block_ids))
        large.block_ids |= small.block_ids
        self._segment_of.update(dict.fromkeys(small.block_ids, large))
        for holder in small.holders:
            del self._segments_of[holder][small]
        self._changed_segments.pop(small, None)
        self._changed_segments[large] = None
