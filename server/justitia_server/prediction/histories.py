"""
What the applications of each type have cost: the latest of them, by tenant and type.

Costs are kept as if nothing had been shared, so that they can be compared with lengths; the part of
it that was really charged is kept beside. The coldest types, beyond a fixed number, are merged into
one of their tenant, which tells of a type that is not known.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from ..fairness.samples import Sample
from .base import Standing
from .kept import Kept

NUM_TYPES_KEPT = 10_000
NUM_TENANTS_KEPT = 10_000
NUM_COSTS_KEPT = 100  # of a type, the latest
NUM_RUNNING_KEPT = 64  # of a type, the latest
_NOTHING_SEEN = Standing()


@dataclass(slots=True)
class Mean:
    """A running mean of what was seen."""

    mean: float = 0.0
    num_seen: int = 0

    def add(self, value: float, number: int = 1) -> None:
        """Take in *number* values whose mean is *value*."""
        self.num_seen += number
        self.mean += (value - self.mean) * number / self.num_seen


@dataclass(slots=True)
class TypeHistory:
    """
    What applications of one type used.

    Attributes:
        num_seen: How many have ended.
        costs: What the latest would have been charged, had nothing been shared.
        output_tokens_per_call: Of all calls completed, those of running applications, too.
        charged_ratio: What they were charged over that.
        running: The same as predicted of some that have begun and not ended, and how many had
            ended then.
    """

    num_seen: int = 0
    costs: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_COSTS_KEPT))
    output_tokens_per_call: Mean = field(default_factory=Mean)
    charged_ratio: Mean = field(default_factory=Mean)
    running: OrderedDict[int, tuple[float, int]] = field(default_factory=OrderedDict)
    _standing: Standing | None = None

    def add(self, sample: Sample) -> None:
        """Take in an application that has ended."""
        self.num_seen += 1
        self.costs.append(max(sample.unshared_cost, 1.0))
        self.charged_ratio.add(sample.cost / sample.unshared_cost)
        self._drop_stale()
        self._standing = None

    def add_calls(self, num_calls: int, num_output_tokens: int) -> None:
        """Take in calls that have completed, at least one."""
        self.output_tokens_per_call.add(num_output_tokens / num_calls, num_calls)

    def merge(self, other: TypeHistory) -> None:
        """Take in all that *other* has seen."""
        self.num_seen += other.num_seen
        self.costs.extend(other.costs)
        for mine, theirs in (
            (self.output_tokens_per_call, other.output_tokens_per_call),
            (self.charged_ratio, other.charged_ratio),
        ):
            if theirs.num_seen:
                mine.add(theirs.mean, theirs.num_seen)
        self._standing = None

    def note_running(self, key: int, cost: float) -> None:
        """
        Take in what one that is running is predicted to cost.

        Those that end first are the small ones: by what has ended alone a type looks too cheap.
        """
        self.running.pop(key, None)
        self.running[key] = (max(cost, 1.0), self.num_seen)
        if len(self.running) > NUM_RUNNING_KEPT:
            self.running.popitem(last=False)
        self._standing = None

    def drop_running(self, key: int) -> None:
        """Forget what one that has ended had been predicted to cost."""
        if self.running.pop(key, None) is not None:
            self._standing = None

    @property
    def standing(self) -> Standing:
        """Median and spread of the latest log-costs; reckoned when something was added."""
        if self._standing is None:
            self._standing = _standing_of(sorted(map(math.log, self._all_costs())), self.num_seen)
        return self._standing

    @property
    def charged(self) -> float:
        """The part that is charged of what it would be, were nothing shared."""
        return self.charged_ratio.mean if self.charged_ratio.num_seen else 1.0

    def mean_cost(self, *, above: float = 0.0) -> float | None:
        """Return the mean of the latest costs above *above*, nothing shared; None without any."""
        costs = [cost for cost in self._all_costs() if cost > above]
        return sum(costs) / len(costs) if costs else None

    def _all_costs(self) -> list[float]:
        return [*self.costs, *(cost for cost, _ in self.running.values())]

    def _drop_stale(self) -> None:
        """Forget those of which nothing was heard while many others ended: they were given up."""
        while self.running:
            key, (_, num_seen) = next(iter(self.running.items()))
            if self.num_seen - num_seen < NUM_RUNNING_KEPT:
                break
            del self.running[key]


class Histories:
    """Histories by tenant and type, in bounded memory."""

    def __init__(self, *, most_types: int = NUM_TYPES_KEPT) -> None:
        self._rest: Kept[str, TypeHistory] = Kept(TypeHistory, most=NUM_TENANTS_KEPT)
        self._types: Kept[tuple[str, str], TypeHistory] = Kept(
            TypeHistory, most=most_types, give_up=self._merge
        )

    def add(self, sample: Sample) -> None:
        """Learn from an application that has ended."""
        self._types.recall((sample.tenant, sample.app_type)).add(sample)

    def of(self, tenant: str, app_type: str) -> TypeHistory | None:
        """Return what is known of a tenant's type."""
        return self._types.find((tenant, app_type))

    def recall(self, tenant: str, app_type: str) -> TypeHistory:
        """Return what is known of a tenant's type, begun if nothing is."""
        return self._types.recall((tenant, app_type))

    def rest(self, tenant: str) -> TypeHistory | None:
        """Return what is known of the tenant's types that are kept apart no more."""
        return self._rest.find(tenant)

    def standing(self, tenant: str, app_type: str) -> Standing:
        """Return how a tenant's type stands."""
        history = self.of(tenant, app_type)
        return history.standing if history and history.num_seen else _NOTHING_SEEN

    def _merge(self, key: tuple[str, str], history: TypeHistory) -> None:
        self._rest.recall(key[0]).merge(history)


def _standing_of(ascending: list[float], num_seen: int) -> Standing:
    number, median = len(ascending), _median(ascending)
    mean = sum(ascending) / number
    spread = math.sqrt(sum((each - mean) ** 2 for each in ascending) / number)
    return Standing(num_seen, median, spread)


def _median(ascending: list[float]) -> float:
    middle = len(ascending) // 2
    if len(ascending) % 2:
        return ascending[middle]
    return (ascending[middle - 1] + ascending[middle]) / 2
