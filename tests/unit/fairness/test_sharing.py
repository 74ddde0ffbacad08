"""Who shares which blocks, against counting the holders of every block."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_server.fairness.sharing import SharedBlocks

BLOCK_SIZE = 16
CALLS = "abcdef"

calls = st.sampled_from(CALLS)
any_blocks = st.lists(st.integers(1, 12), unique=True, max_size=12)
prefixes = st.integers(0, 12).map(lambda length: list(range(1, length + 1)))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), calls, any_blocks | prefixes),
        st.tuples(st.sampled_from(["release", "forget"]), calls),
        st.just(("take",)),
    ),
    max_size=60,
)


class CountedBlocks:
    """The same by the definition: a set of holders for every block."""

    def __init__(self):
        self.held = {call: set() for call in CALLS}

    def shared_tokens(self, call):
        numbers = [sum(block in held for held in self.held.values()) for block in self.held[call]]
        return sum((BLOCK_SIZE * (1 - Fraction(1, n)) for n in numbers), Fraction(0))


def is_empty(shared):
    return not (
        len(shared)
        or shared._segments_of
        or shared._segment_of
        or shared._changed_segments
        or shared._let_go
    )


def check_segments(shared):
    """Every block is in one segment, and segments and calls know each other."""
    segments = {segment for each in shared._segments_of.values() for segment in each}
    assert len(shared) == sum(len(segment.block_ids) for segment in segments)
    for segment in segments:
        assert segment.block_ids
        assert segment.holders
        assert all(shared._segment_of[block] is segment for block in segment.block_ids)
        assert all(segment in shared._segments_of[call] for call in segment.holders)
    for call, held in shared._segments_of.items():
        assert all(call in segment.holders for segment in held)
        assert sum(len(segment.holders) == 1 for segment in held) <= 1


@given(operations)
def test_d_is_that_of_counting_holders_and_every_change_is_told(steps):
    """Whatever is held and released, d is right when asked for and when told, and told in full."""
    shared, counted = SharedBlocks(BLOCK_SIZE), CountedBlocks()
    told = dict.fromkeys(CALLS, 0.0)
    ended = set()
    for kind, *arguments in [*steps, ("take",)]:
        if kind == "hold":
            call, block_ids = arguments
            shared.hold(call, block_ids)
            counted.held[call].update(block_ids)
            ended -= {call} if block_ids else set()
        elif kind in ("release", "forget"):
            getattr(shared, kind)(*arguments)
            counted.held[arguments[0]].clear()
            if kind == "forget":
                ended.update(arguments)
                told[arguments[0]] = 0.0
        else:
            changes = shared.take_changes()
            assert not ended & changes.keys()
            told.update(changes)
            right = {call: counted.shared_tokens(call) for call in CALLS}
            assert told == pytest.approx(right, abs=1e-9)
        for call in CALLS:
            assert shared.shared_tokens(call) == pytest.approx(
                float(counted.shared_tokens(call)), abs=1e-9
            )
        held = set().union(*counted.held.values())
        assert shared.unknown(range(1, 13)) == set(range(1, 13)) - held
        check_segments(shared)
    assert shared.take_changes() == {}


@given(operations)
def test_nothing_stays_once_all_are_gone(steps):
    """Released blocks leave no trace, whatever happened to them before."""
    shared = SharedBlocks(BLOCK_SIZE)
    for kind, *arguments in steps:
        getattr(shared, "take_changes" if kind == "take" else kind)(*arguments)
    for call in CALLS:
        shared.forget(call)
    assert is_empty(shared)


@given(operations)
def test_what_is_charged_is_what_is_held(steps):
    """The tokens all calls hold, less what they share, are the blocks held, each counted once."""
    shared, counted = SharedBlocks(BLOCK_SIZE), CountedBlocks()
    for kind, *arguments in steps:
        if kind == "hold":
            shared.hold(*arguments)
            counted.held[arguments[0]].update(arguments[1])
    charged = sum(
        BLOCK_SIZE * len(counted.held[call]) - shared.shared_tokens(call) for call in CALLS
    )
    assert charged == pytest.approx(BLOCK_SIZE * len(shared))


def test_by_hand():
    """Two share 3 of 4 blocks: each saves half of 3; a third with 1 of them changes all three."""
    shared = SharedBlocks(BLOCK_SIZE)
    shared.hold("a", [1, 2, 3, 4])
    shared.hold("b", [1, 2, 3])
    assert shared.take_changes() == {"a": 24.0, "b": 24.0}
    shared.hold("c", [1])
    assert shared.take_changes() == pytest.approx({"a": 80 / 3, "b": 80 / 3, "c": 32 / 3})
    shared.forget("b")
    assert shared.take_changes() == {"a": 8.0, "c": 8.0}
    shared.release("c")
    assert shared.take_changes() == {"a": 0.0, "c": 0.0}


def test_blocks_of_ones_own_change_nobody():
    """A decode that fills blocks tells nothing, whoever shares the prompt."""
    shared = SharedBlocks(BLOCK_SIZE)
    for call in "ab":
        shared.hold(call, [1, 2])
    shared.take_changes()
    for block in range(100, 120):
        shared.hold("a", [block])
    assert shared.take_changes() == {}


def test_a_hundred_samples_of_one_prompt_are_two_segments_each():
    """However long the prompt; the first sample's own blocks split off when the second comes."""
    shared = SharedBlocks(BLOCK_SIZE)
    for sample in range(100):
        shared.hold(sample, range(1, 1001))
        shared.hold(sample, [2000 + sample])
    assert {len(shared._segments_of[sample]) for sample in range(100)} == {2}
    assert len(shared.take_changes()) == 100


def test_segments_grow_together_again():
    """One that outlives sharers of many lengths is left with a single segment."""
    shared = SharedBlocks(BLOCK_SIZE)
    shared.hold("a", range(1, 101))
    for length in range(1, 100):
        shared.hold(length, range(1, length + 1))
    assert len(shared._segments_of["a"]) == 100
    for length in range(1, 100):
        shared.forget(length)
    assert len(shared._segments_of["a"]) == 1
    assert shared.take_changes() == {"a": 0.0}
