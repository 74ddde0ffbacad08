"""
Plans that are told again while an application runs: which of them count.

A call's hints hold the whole plan as its sender knew it, an announcement too, and they may
overtake each other. So it must not matter in which order they come: a plan counts if it *goes
beyond* the one known, which no two plans can do to each other.
"""

from __future__ import annotations

from typing import TypeGuard

from justitia_sdk.plan import Plan


def goes_beyond(plan: Plan | None, known: Plan | None) -> TypeGuard[Plan]:
    """
    Tell whether *plan* has all that *known* has, and more: another stage, or more calls of one.

    Of two ranges of calls the one that promises more has more; of two that promise as many, the one
    that allows for more. Stages are told apart by name, in whatever order they stand.
    Cost: one comparison where nothing has changed.
    """
    if plan is None or plan == known:
        return False
    told, before = _calls(plan), _calls(known)
    if any(told.get(name, _NONE) < calls for name, calls in before.items()):
        return False
    return len(told) > len(before) or any(told[name] > before[name] for name in before)


_NONE = (-1, -1)


def _calls(plan: Plan | None) -> dict[str, tuple[int, int]]:
    """Return of every stage the least and most calls, all turns taken."""
    found: dict[str, tuple[int, int]] = {}
    for stage in plan.stages if plan else ():
        least, most = found.get(stage.name, (0, 0))
        low, high = stage.call_range
        found[stage.name] = (least + stage.loop * low, most + stage.loop * high)
    return found
