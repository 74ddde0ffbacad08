"""
Where a scout call pays: types whose first call tells much of what the rest will cost.

An application that is over-predicted waits, and so shows no evidence. Its first call can be ordered
by its own small cost instead (the *scout call*), and the rest by the estimate made once that has
finished. This pays where the estimate gets much better by it: simulated with log-normal errors,
where the log-error left is at most about 0.6 of what it was, and costs where it stays as it was.

So of each tenant's type the share of the log-error that is left after the first call is measured,
over the latest applications that have ended, with the predictions as they were told at the time.
Large applications end last, so the first evidence comes after most of a burst has arrived. Until
then the plan decides: where it leaves the number of later calls open, the first call unfolds it.
"""

from __future__ import annotations

import math
from collections import deque

from justitia_sdk.plan import Plan

from .histories import NUM_TYPES_KEPT
from .kept import Kept

MOST_ERROR_LEFT = 0.6
LEAST_ERROR = 0.15  # mean log-error at arrival below which there is nothing to be found out
LEAST_EVIDENCE = 8
NUM_KEPT = 32
MOST_LOG_ERROR = math.log(10.0)  # one that was off by more counts as this: means stay robust


class _Errors:
    """Absolute log-errors of the latest applications: at arrival, and after the first call."""

    __slots__ = ("pairs", "pays")

    def __init__(self) -> None:
        self.pairs: deque[tuple[float, float]] = deque(maxlen=NUM_KEPT)
        self.pays = False

    def add(self, before: float, after: float) -> None:
        self.pairs.append((min(before, MOST_LOG_ERROR), min(after, MOST_LOG_ERROR)))
        if len(self.pairs) < LEAST_EVIDENCE:
            return
        was, left = (sum(errors) / len(self.pairs) for errors in zip(*self.pairs, strict=True))
        self.pays = was >= LEAST_ERROR and left <= MOST_ERROR_LEFT * was


class Scouting:
    """Tells by tenant and type whether a scout call pays."""

    def __init__(self, *, most_types: int = NUM_TYPES_KEPT) -> None:
        self._types: Kept[tuple[str, str], _Errors] = Kept(_Errors, most=most_types)

    def observe(
        self, tenant: str, app_type: str, *, at_arrival: float, after_first: float, cost: float
    ) -> None:
        """
        Learn from an application that has ended.

        Args:
            tenant: Who was billed.
            app_type: Its kind.
            at_arrival: What it was predicted to cost when it arrived; above 0.
            after_first: The same once its first call had finished; above 0.
            cost: What it cost; above 0.
        """
        before, after = (abs(math.log(told / cost)) for told in (at_arrival, after_first))
        self._types.recall((tenant, app_type)).add(before, after)

    def pays(self, tenant: str, app_type: str, plan: Plan | None = None) -> bool:
        """
        Tell whether an application is to send its first call ahead as a scout.

        Args:
            tenant: Who is billed.
            app_type: Its kind.
            plan: What it has declared.
        """
        errors = self._types.find((tenant, app_type))
        if errors is None or len(errors.pairs) < LEAST_EVIDENCE:
            return plan is not None and unfolds(plan)
        return errors.pays

    def error_left(self, tenant: str, app_type: str) -> float | None:
        """Return the share of the log-error left after the first call; None without evidence."""
        errors = self._types.find((tenant, app_type))
        if errors is None or not errors.pairs:
            return None
        was, left = (sum(each) for each in zip(*errors.pairs, strict=True))
        return left / was if was else 1.0


def unfolds(plan: Plan) -> bool:
    """Tell whether *plan* leaves open how many calls come after its first stage."""
    ranges = (stage.call_range for stage in plan.stages[1:])
    return any(least < most for least, most in ranges)
