"""
Who tells the scheduler what applications cost, where some declare what they like.

- `Believing`: the declared cost counts, for ever.
- `Learning`: the server's predictor without a trained model: declared costs count until there is
  evidence.
- `Modelling`: all of the server's predictor: a model trained as applications end, revisions while
  they run, scout calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from justitia_sdk.plan import Plan, Stage
from justitia_sdk.protocol import ApplicationHints, application_fields
from justitia_server.fairness.accounts import ApplicationFacts
from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.base import Question
from justitia_server.prediction.ladder import LadderPredictor
from justitia_server.simulation import workload
from justitia_server.simulation.costs import CallTold, Revised
from justitia_server.simulation.online_costs import OnlineCosts

from .driver import Application, Call, Hooks, facts_of

SEED = 0  # of training


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of an application: its true cost times a factor, and how."""

    factor: float = 1.0
    app_type: str = "report"


class Believing(Hooks):
    """The declared cost is believed for ever."""

    tells_truth = False

    def __init__(self, declared: dict[str, Declared]) -> None:
        self._declared = declared

    def facts(self, application: Application) -> ApplicationFacts:
        """Return the facts with the declared cost."""
        factor = self._declared[application.app_id].factor
        return facts_of(application, factor * application.cost)


class Learning(Hooks):
    """The server's predictor without a model is in the loop, told a plan with the declared cost."""

    tells_truth = False

    def __init__(self, declared: dict[str, Declared]) -> None:
        self._declared = declared
        self._predictor = LadderPredictor()

    def facts(self, application: Application) -> ApplicationFacts:
        """Return the facts with the predicted cost."""
        declared = self._declared[application.app_id]
        plan = _plan(application, declared)
        question = Question(declared.app_type, application.tenant, plan=plan)
        prediction = self._predictor.predict(question)
        return replace(
            facts_of(application, prediction.cost),
            app_type=declared.app_type,
            declared_cost=prediction.declared_cost,
        )

    def learn(self, sample: Sample) -> None:
        """Let the predictor learn."""
        self._predictor.observe(sample)


class Modelling(Hooks):
    """All of the server's predictor is in the loop, told the same plans, and beginning empty."""

    tells_truth = False

    def __init__(self, declared: dict[str, Declared]) -> None:
        self._declared = declared
        self._costs = OnlineCosts(KV_TOKEN_TIME, SEED)

    def facts(self, application: Application) -> ApplicationFacts:
        """Return the facts with the predicted cost."""
        declared = self._declared[application.app_id]
        prediction = self._costs.predict(_arriving(application, declared))
        return replace(
            facts_of(application, prediction.cost),
            app_type=declared.app_type,
            declared_cost=prediction.declared_cost,
        )

    def begin_call(self, application: Application, call: Call) -> CallTold:
        """Let the predictor take notice of a call."""
        return self._costs.begin(application.app_id, _call(0, call))

    def end_call(self, application: Application, call: Call) -> None:
        """Let the predictor learn from a call."""
        self._costs.end(application.app_id, _call(0, call))

    def revisions(self) -> Sequence[Revised]:
        """Return what the predictor says anew."""
        return self._costs.revisions()

    def learn(self, sample: Sample) -> None:
        """Let the predictor learn, and train."""
        self._costs.observe(sample)


LOOPS = {"believed": Believing, "predicted": Learning, "modelled": Modelling}


def _plan(application: Application, declared: Declared) -> Plan:
    """Return a plan of one stage that comes to the declared cost."""
    number, output = application.num_calls, 10
    per_call = declared.factor * application.cost / number
    prompt = max(1, round((per_call - output * (output + 1) / 2) / output))
    return Plan((Stage("map", number, prompt_tokens=prompt, output_tokens=output),))


def _arriving(application: Application, declared: Declared) -> workload.Arriving:
    hints = ApplicationHints("app", plan=_plan(application, declared))
    return workload.Arriving(
        app_id=application.app_id,
        app_type=declared.app_type,
        calls=[_call(place, call) for place, call in enumerate(application.stages[0])],
        arrival_s=0.0,
        tenant=application.tenant,
        plan=application_fields(hints)["plan"],
    )


def _call(place: int, call: Call) -> workload.Call:
    prompt, output = call
    return workload.Call(id=place, prompt_tokens=prompt, output_tokens=output)
