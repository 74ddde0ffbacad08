"""
What applications have really cost per predicted cost: evidence for or against what is told.

Kept by tenant and type, and by tenant, so that a new name for a type brings no new trust. The
median of the latest counts: a few absurd ones move nothing.
"""

from __future__ import annotations

import statistics
from collections import deque

from .histories import NUM_TENANTS_KEPT, NUM_TYPES_KEPT
from .kept import Kept

NUM_TRUSTED = 5  # from so many on, what was seen counts for more than what is told
NUM_KEPT = 21


class _Latest:
    """The latest ratios, and their median."""

    __slots__ = ("_latest", "_median")

    def __init__(self) -> None:
        self._latest: deque[float] = deque(maxlen=NUM_KEPT)
        self._median: float | None = None

    def add(self, ratio: float) -> None:
        self._latest.append(ratio)
        if len(self._latest) >= NUM_TRUSTED:
            self._median = statistics.median(self._latest)

    def median(self) -> float | None:
        return self._median


class Ratios:
    """Ratios of costs, by tenant and type."""

    def __init__(self, *, most_types: int = NUM_TYPES_KEPT) -> None:
        self._of_type: Kept[tuple[str, str], _Latest] = Kept(_Latest, most=most_types)
        self._of_tenant: Kept[str, _Latest] = Kept(_Latest, most=NUM_TENANTS_KEPT)

    def add(self, tenant: str, app_type: str, ratio: float) -> None:
        """Take in one application's."""
        self._of_type.recall((tenant, app_type)).add(ratio)
        self._of_tenant.recall(tenant).add(ratio)

    def median(self, tenant: str, app_type: str) -> float | None:
        """Return the median of the type, else of the tenant; None where both are too few."""
        of_type = self._of_type.find((tenant, app_type))
        if of_type is not None and (median := of_type.median()) is not None:
            return median
        of_tenant = self._of_tenant.find(tenant)
        return of_tenant.median() if of_tenant is not None else None
