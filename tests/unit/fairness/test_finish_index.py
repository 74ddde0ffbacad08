"""The index of virtual finishes, against a plain sorted list."""

import math
import random
from bisect import insort

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_server.fairness.finish_index import BUCKET_SIZE, FinishIndex

# Whole numbers: sums are exact, and many entries share a finish.
entries = st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 4))
SEVERAL_THOUSAND = 20 * BUCKET_SIZE


def filled(held):
    index = FinishIndex()
    for entry in held:
        index.add(entry)
    return index


def capped_work(held, finish):
    return sum(weight * min(each, finish) for each, _, weight in held)


def assert_same(index, held, finishes):
    """Compare *index* with the sorted list *held*."""
    assert len(index) == len(held)
    if held:
        assert index.first() == held[0]
    for finish in finishes:
        assert index.capped_work(finish) == capped_work(held, finish)


def drained(index):
    taken = []
    while len(index):
        taken.append(index.first())
        index.remove(taken[-1])
    return taken


@given(st.lists(st.tuples(st.booleans(), entries), max_size=50), st.integers(-1, 31))
def test_adding_and_removing_equal_a_sorted_list(changes, finish):
    """Size, first and capped work after every change; what is not there cannot be removed."""
    index, held = FinishIndex(), []
    for is_added, entry in changes:
        if is_added:
            index.add(entry)
            insort(held, entry)
        elif entry in held:
            index.remove(entry)
            held.remove(entry)
        else:
            with pytest.raises(KeyError):
                index.remove(entry)
        assert_same(index, held, [finish, 15, math.inf])


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_entries_equal_a_sorted_list(seed):
    """Buckets split and vanish on the way up and down."""
    chance = random.Random(seed)
    index, held = FinishIndex(), []
    for seq in range(SEVERAL_THOUSAND):
        entry = (chance.randrange(1000), seq, chance.randint(1, 4))
        index.add(entry)
        insort(held, entry)
        if chance.random() < 0.3:
            index.remove(held.pop(chance.randrange(len(held))))
        if seq % 100 == 0:
            assert_same(index, held, [chance.randrange(-1, 1001), math.inf])
    while held:
        index.remove(held.pop(chance.randrange(len(held))))
        if len(held) % 100 == 0:
            assert_same(index, held, [chance.randrange(-1, 1001), math.inf])


@pytest.mark.parametrize("step", [1, -1, 0], ids=["rising", "falling", "equal"])
def test_entries_come_out_in_order(step):
    """Whichever way they came in; equal finishes by arrival number."""
    came = [(step * seq, seq, 1) for seq in range(SEVERAL_THOUSAND)]
    assert drained(filled(came)) == sorted(came)


def test_whatever_was_just_added_can_be_removed():
    """Also the largest of all, when its bucket has just split."""
    index = FinishIndex()
    for seq in range(4 * BUCKET_SIZE):
        entry = (seq, seq, 1)
        index.add(entry)
        assert index.capped_work(seq - 1) == capped_work(
            [(each, 0, 1) for each in range(seq + 1)], seq - 1
        )
        index.remove(entry)
        index.add(entry)
    assert len(index) == 4 * BUCKET_SIZE


@pytest.mark.parametrize(
    "missing",
    [(4, 1, 1), (5, 0, 1), (5, 1, 2), (6, 1, 1)],
    ids=["below", "number", "weight", "above"],
)
def test_removing_what_is_not_there_is_refused(missing):
    """Close is not enough, and nothing changes."""
    index = filled([(5, 1, 1)])
    with pytest.raises(KeyError):
        index.remove(missing)
    assert drained(index) == [(5, 1, 1)]


def test_equal_entries_are_kept_apart():
    """A multiset: each is removed for itself."""
    index = filled([(5, 1, 2)] * 3)
    index.remove((5, 1, 2))
    assert len(index) == 2
    assert index.capped_work(math.inf) == 20


def test_an_empty_index_has_no_first_and_no_work():
    """The smallest of nothing is an error, its sum is not."""
    index = FinishIndex()
    assert index.capped_work(math.inf) == 0
    with pytest.raises(IndexError):
        index.first()


def test_rounding_does_not_pile_up():
    """After a hundred thousand changes with floats a sum is what it is when formed anew."""
    chance = random.Random(0)
    held = [(chance.random(), seq, chance.random()) for seq in range(300)]
    index = filled(held)
    for seq in range(300, 50_000):
        place = chance.randrange(300)
        index.remove(held[place])
        held[place] = (1e6 * chance.random(), seq, chance.random())
        index.add(held[place])
    assert index.capped_work(math.inf) == pytest.approx(capped_work(held, math.inf), rel=1e-14)
