"""Texts as counts of hashed n-grams."""

import time

import pytest

from justitia_server.prediction.hashing import MAX_PLACES, NUM_PLACES, hash_text


def similarity(one, other):
    """Return the part of the places of *one* that *other* has."""
    return len(set(one.places) & set(other.places)) / len(one.places)


def test_the_hashes_never_change():
    """Stored examples and models of an older version stay good."""
    assert hash_text("ab c").places == (4366385, 4807869, 12583341, 13568466, 13980136)


def test_case_does_not_matter():
    """One word is one word."""
    assert hash_text("Summarise THIS") == hash_text("summarise this")


def test_repeats_are_counted():
    """How often something is said is kept."""
    assert max(hash_text("no no no no").counts) == 4


def test_places_are_ascending_and_each_has_a_count():
    """What learns from them relies on it."""
    hashed = hash_text("a number of words, some of words twice")
    assert list(hashed.places) == sorted(set(hashed.places))
    assert len(hashed.counts) == len(hashed.places)
    assert all(0 <= place < NUM_PLACES for place in hashed.places)


@pytest.mark.parametrize(
    ("one", "like", "unlike"),
    [
        ("cancel my flight to Boston", "please cancel the flight", "write a poem on autumn"),
        ("明天上海的天气怎么样", "今天上海的天气好吗", "怎样学习弹钢琴"),
        ("какая завтра будет погода", "скажи, какая там погода", "купить билет"),
    ],
)
def test_like_texts_share_more_than_unlike_ones(one, like, unlike):
    """In scripts with spaces and without."""
    hashed = hash_text(one)
    assert similarity(hashed, hash_text(like)) > 2 * similarity(hashed, hash_text(unlike))


@pytest.mark.parametrize(
    "text", ["", " ", "\x00", "\x00\xff" * 50, "\ud800", "a\udfff b", "İ" * 9_000, "🙂" * 5_000]
)
def test_any_string_is_taken(text):
    """Empty, binary, broken and growing ones."""
    hashed = hash_text(text)
    assert hashed.num_chars == len(text)
    assert len(hashed.places) == len(hashed.counts) <= MAX_PLACES


def test_the_length_is_that_of_the_whole_text():
    """Where it was cut on the way it is told."""
    assert hash_text("cut", num_chars=90_000).num_chars == 90_000


def test_a_long_text_is_read_at_both_ends():
    """What is asked often stands last."""
    filler = "lorem ipsum " * 5_000
    ends = hash_text("what is asked"), hash_text(filler + "what is asked")
    assert similarity(*ends) > 0.7


def test_a_long_text_is_bounded():
    """Of many n-grams a fixed number is kept."""
    text = " ".join(f"word{number}" for number in range(100_000))
    assert len(hash_text(text).places) == MAX_PLACES


def test_long_texts_stay_comparable():
    """Of two texts that differ little the same n-grams are kept."""
    words = [f"word{number}" for number in range(400)]
    assert similarity(hash_text(" ".join(words)), hash_text(" ".join(words[10:]))) > 0.8


def test_a_megabyte_costs_no_more_than_four_thousand_characters():
    """Half a millisecond more than a short text at the very most; the best of many counts."""

    def least_s(text):
        return min(_timed(text) for _ in range(20))

    def _timed(text):
        began = time.perf_counter()
        hash_text(text)
        return time.perf_counter() - began

    assert least_s("lorem ipsum " * 90_000) < least_s("lorem") + 1e-3
