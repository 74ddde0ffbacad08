"""
A text as counts of hashed n-grams: what is learned from, and kept instead of the text itself.

Words and pairs of words carry what scripts with spaces say; runs of three characters carry their
inflections; single characters and pairs carry scripts without spaces (Chinese, Japanese). The
hashes are plain arithmetic on code points, so they are the same in every process and version.

A long text is read at both ends, and of many n-grams those with the smallest hashes are kept: the
same n-grams in every text, so that texts stay comparable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .base import HashedText

NUM_HEAD_CHARS = 3_000
NUM_TAIL_CHARS = 1_000
MAX_PLACES = 512
NUM_PLACES = 1 << 24  # of two n-grams in a text one pair in thousands of texts shares a place
_ZERO = np.zeros(1, dtype=np.int64)
_UNSPACED_FROM = 0x2E80  # from here on scripts that put no spaces between words

_Array = NDArray[np.uint64]
_WORD, _PAIR, _RUN, _CHAR, _CHARS = (np.uint64(salt) for salt in (3, 5, 7, 11, 13))
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_MIXER = np.uint64(0xBF58476D1CE4E5B9)  # splitmix64 (Steele, Lea, Flood 2014)
_POWERS = np.cumprod(np.full(NUM_HEAD_CHARS + NUM_TAIL_CHARS + 1, 0x100000001B3, dtype=np.uint64))

_FIRST_LETTER = 0xAA  # from here on everything is taken to be part of a word
_IN_WORD = np.array([chr(code).isalnum() for code in range(0x80)] + [False] * 0x2A + [True])


def hash_text(text: str, *, num_chars: int | None = None) -> HashedText:
    """
    Return *text* as counts of hashed n-grams.

    Args:
        text: Anything; case and what surrounds words do not matter.
        num_chars: Length of the whole text, where *text* is cut.

    Cost: that of 4,000 characters at most, whatever the length.
    """
    length = len(text) if num_chars is None else max(num_chars, len(text))
    if len(text) > NUM_HEAD_CHARS + NUM_TAIL_CHARS:
        text = text[:NUM_HEAD_CHARS] + " " + text[-NUM_TAIL_CHARS + 1 :]
    codes = _codes(text)
    places = _hashes(codes) & np.uint64(NUM_PLACES - 1)
    if not len(places):
        return HashedText((), (), length)
    places.sort()
    first = _starts(places[1:] != places[:-1])
    counts = np.diff(first, append=len(places))
    kept = places[first[:MAX_PLACES]]
    return HashedText(tuple(kept.tolist()), tuple(counts[:MAX_PLACES].tolist()), length)


def _starts(is_new: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return where runs begin, told for each element but the first whether it begins one."""
    later = np.flatnonzero(is_new)
    later += 1
    return np.concatenate((_ZERO, later))


def _codes(text: str) -> _Array:
    """Return the code points of *text* in lower case, cut to the bound once more."""
    lower = text.lower()[: len(_POWERS)]  # some characters become several
    raw = lower.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(raw, dtype="<u4").astype(np.uint64)


def _hashes(codes: _Array) -> _Array:
    """Return a hash for every n-gram of *codes*, in no order that matters."""
    spaced = codes < _UNSPACED_FROM
    has_unspaced = not spaced.all()
    in_word = _is_word_part(codes)
    pairs = codes[:-1] * _FACTOR + codes[1:]
    runs = pairs[:-1] * _FACTOR + codes[2:] + _RUN
    found = []
    if has_unspaced:
        unspaced = ~spaced
        in_word &= spaced
        runs = runs[spaced[1:-1]]
        found = [codes[unspaced] * _FACTOR + _CHAR, pairs[unspaced[:-1]] + _CHARS]
    words = _words(codes, in_word)
    word_pairs = (words[:-1] * _FACTOR + words[1:]) * _FACTOR + _PAIR
    return _mixed(np.concatenate((words * _FACTOR + _WORD, word_pairs, runs, *found)))


def _is_word_part(codes: _Array) -> NDArray[np.bool_]:
    """Tell letters, digits and all that is not ASCII from spaces and punctuation."""
    is_part: NDArray[np.bool_] = _IN_WORD[np.minimum(codes, _FIRST_LETTER)]
    return is_part


def _words(codes: _Array, in_word: NDArray[np.bool_]) -> _Array:
    """Return a number for every run of characters in words: a polynomial of its code points."""
    places = np.flatnonzero(in_word)
    if not len(places):
        return np.zeros(0, dtype=np.uint64)
    first = _starts(places[1:] != places[:-1] + 1)
    within = np.arange(len(places))
    within -= np.repeat(first, np.diff(first, append=len(places)))
    return np.add.reduceat(codes[places] * _POWERS[within], first)


def _mixed(hashes: _Array) -> _Array:
    """Spread what differs anywhere in a hash over all of it."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * _MIXER
    return hashes ^ (hashes >> np.uint64(31))
