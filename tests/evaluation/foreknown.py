"""
What may be known beforehand: told in the predictor's place, to see how far it could come.

- `Hindsight`: the true mean of a type, as if all of it had been seen.
- `experienced`: the predictor itself, begun with what it has learned of others of the families.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from justitia_server.fairness.accounts import DEFAULT_TENANT
from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.base import Prediction
from justitia_server.simulation.costs import ToldOnce, true_cost
from justitia_server.simulation.online_costs import OnlineCosts
from justitia_server.simulation.shipped import named_families
from justitia_server.simulation.workload import Application, Arriving

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
