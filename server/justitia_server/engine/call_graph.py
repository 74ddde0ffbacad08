"""
Which calls of an application waited for which, as far as their times tell.

A call waits for those that had ended when it came, less those that one of them waited for: these
are implied. More than that cannot be seen from a server, and less would let a simulation start a
call before what it needs is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

MOST_WAITS = 1_000_000  # named in one application, about


def waits(spans: Sequence[tuple[float, float]]) -> list[list[int]]:
    """
    Return, of every call, which ones it waited for.

    Of an application of very many calls at a time only those that ended last are named: else two
    stages of n calls would name n^2.

    Args:
        spans: When each call came and ended, in the order in which they came.

    Returns:
        Places in *spans*, each below the call's own, ascending.

    Cost: O(n log n + the places returned).
    """
    by_end = sorted(range(len(spans)), key=lambda place: spans[place][1])
    ends = [spans[place][1] for place in by_end]
    # Of the calls up to each in order of their ends: when the latest came.
    latest = list(accumulate((spans[place][0] for place in by_end), max))
    most = MOST_WAITS // max(len(spans), 1) + 16
    found: list[list[int]] = []
    for place, (began_at, _) in enumerate(spans):
        num_ended = bisect_right(ends, began_at)
        # Who had ended when the latest of these came is waited for by that one.
        implied = bisect_right(ends, latest[num_ended - 1]) if num_ended else 0
        waited = by_end[max(implied, num_ended - most) : num_ended]
        found.append(sorted(before for before in waited if before < place))
    return found
