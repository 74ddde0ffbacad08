"""
What may be known beforehand: told in the predictor's place, to see how far it could come.

- `Hindsight`: the true mean of a type, as if all of it had been seen.
- `Unfolding`: what one of a type costs by all that have cost more than it has so far, asked again
  whenever a call of it has ended; the order follows upwards, too.
- `experienced`: the predictor itself, begun with what it has learned of others of the families.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

from justitia_server.fairness.accounts import DEFAULT_TENANT
from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.base import Prediction
from justitia_server.simulation.costs import Revised, ToldOnce, true_cost
from justitia_server.simulation.online_costs import OnlineCosts
from justitia_server.simulation.shipped import named_families
from justitia_server.simulation.workload import Application, Arriving, Call

from .predictor_data import NUM_TRAINING, levels
from .predictor_workload import origin, texts_of, told


class Hindsight(ToldOnce):
    """The true mean of some types, over all applications there are; of the others the truth."""

    def __init__(self, app_types: Iterable[str]) -> None:
        families = named_families()
        self._means = {
            app_type: fmean(true_cost(each, KV_TOKEN_TIME) for each in families[app_type])
            for app_type in app_types
        }

    def predict(self, application: Arriving) -> Prediction:
        """Return the mean of its type, or what it costs."""
        mean = self._means.get(application.app_type)
        return Prediction(mean or true_cost(application, KV_TOKEN_TIME), "type")


Left = Callable[[Sequence[float]], float]  # what is expected, by what may be left, ascending


def gittins(left: Sequence[float]) -> float:
    """
    Return the Gittins index: the least, over all horizons, of service spent over chance to end.

    Whoever serves the smallest first has the least mean completion time of all who know no more
    (one server, all there at once). Reference: Gittins, J. R. Stat. Soc. B 41(2), 1979.
    """
    spent, before, least = 0.0, 0.0, float("inf")
    for number_ended, each in enumerate(left):
        spent += (each - before) * (len(left) - number_ended)
        before = each
        least = min(least, spent / (number_ended + 1))
    return least


class Unfolding(ToldOnce):
    """What one type's true distribution says of what is left; of the others the truth."""

    def __init__(self, app_type: str, expected: Left) -> None:
        family = named_families()[app_type]
        self._app_type = app_type
        self._costs = sorted(true_cost(each, KV_TOKEN_TIME) for each in family)
        self._expected = expected
        self._done: dict[str, float] = {}
        self._changed: set[str] = set()

    def predict(self, application: Arriving) -> Prediction:
        """Return what all of its type are expected to cost, or what it costs."""
        if application.app_type != self._app_type:
            return Prediction(true_cost(application, KV_TOKEN_TIME), "true")
        self._done[application.app_id] = 0.0
        return Prediction(self._cost_after(0.0), "type")

    def end(self, app_id: str, call: Call) -> None:
        """Take notice of what a call has used."""
        if app_id in self._done:
            self._done[app_id] += KV_TOKEN_TIME.call_cost(call.prompt_tokens, call.output_tokens)
            self._changed.add(app_id)

    def revisions(self) -> Sequence[Revised]:
        """Return what is expected of those of which a call has ended."""
        changed, self._changed = sorted(self._changed), set()
        return [Revised(each, self._cost_after(self._done[each]), True) for each in changed]

    def observe(self, sample: Sample) -> None:
        """Forget one that has ended."""
        self._done.pop(sample.app_id, None)
        self._changed.discard(sample.app_id)

    def _cost_after(self, done: float) -> float:
        left = [each - done for each in self._costs if each > done]
        return done + self._expected(left) if left else done


def experienced(workload: Iterable[Arriving], inputs: Path, seed: int) -> OnlineCosts:
    """
    Return the predictor after it has seen applications that *workload* does not hold.

    At most 100 of a family, as in the paper, in random order, one after another.
    """
    costs = OnlineCosts(KV_TOKEN_TIME, seed)
    texts = texts_of(inputs)
    held = {origin(each) for each in workload}
    chance = random.Random(f"experience-{seed}")
    seen: list[Application] = []
    for family in named_families().values():
        others = [each for each in family if each.app_id not in held]
        seen += chance.sample(others, min(len(others), NUM_TRAINING))
    chance.shuffle(seen)
    for number, application in enumerate(seen, start=1):
        arriving = Arriving(**application.model_dump(exclude_defaults=True), arrival_s=0.0)
        _live_through(costs, told(arriving, texts), number)
    return costs


def _live_through(costs: OnlineCosts, application: Arriving, number: int) -> None:
    """Let *costs* see *application* from its arrival to its end, alone on its server."""
    app_id, prediction = application.app_id, costs.predict(application)
    for level in levels(application):
        for call in level:
            costs.begin(app_id, call)
        costs.revisions()
        for call in level:
            for _ in range(call.samples):
                costs.end(app_id, call)
        costs.revisions()
    cost, num_calls = application.cost, sum(call.samples for call in application.calls)
    sample = Sample(
        number, app_id, application.app_type, DEFAULT_TENANT, cost, num_calls,
        application.num_output_tokens, cost, prediction.declared_cost,
    )  # fmt: skip
    costs.observe(sample)
