"""Room that is too small for all: nobody gives up anything before those who hold more."""

from __future__ import annotations

from collections.abc import Iterable


def fair_level(amounts: Iterable[int], room: int) -> int:
    """
    Return the largest level for which the amounts, each cut to it, fit into *room* together.

    Where all fit uncut that is the largest amount. Max-min fairness: whoever holds no more than
    the level keeps it all.

    Args:
        amounts: What each holds, not negative.
        room: What all may hold together.
    """
    ascending = sorted(amounts)
    for place, amount in enumerate(ascending):
        level = room // (len(ascending) - place)
        if amount > level:
            return level
        room -= amount
    return ascending[-1] if ascending else 0
