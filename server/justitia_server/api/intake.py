"""
Where a call meets the engine: hints and prediction become the facts the scheduler reads.

The one seam is `engine_client.generate`, which every generating endpoint of vLLM ends in (chat,
completions, responses, …): just before, the call's facts are put into its sampling parameters.
A client's own `extra_args["justitia"]` is always overwritten: tenant and cost are ours to say.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from justitia_sdk.protocol import ApplicationHints

from ..engine.carrier import EXTRA_ARGS_KEY, pack
from ..fairness.accounts import DEFAULT_TENANT, UNHINTED_TYPE, ApplicationFacts, CallFacts
from ..prediction.base import Prediction, Question
from ..prediction.ladder import LadderPredictor
from ..prediction.outlook import Outlook, outlooks
from .arrival import Arrival, arrival
from .metrics import PREDICTIONS, count_hints

NUM_APPLICATIONS_KEPT = 65_536
FACTS_KEPT_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Remembered:
    facts: ApplicationFacts
    until_at: float
    stages: dict[str, Outlook]


class Intake:
    """Turns what arrives over HTTP into facts for the scheduler."""

    def __init__(self, predictor: LadderPredictor) -> None:
        self.predictor = predictor
        # An application is predicted once; the engine holds the truth, so forgetting is harmless.
        self._applications: OrderedDict[str, _Remembered] = OrderedDict()

    def attach(self, engine_client: Any) -> None:
        """Let every call that *engine_client* generates carry its facts."""
        generate = engine_client.generate

        def generate_with_facts(
            prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any
        ) -> Any:
            self.mark(prompt, sampling_params)
            return generate(prompt, sampling_params, *args, **kwargs)

        engine_client.generate = generate_with_facts

    def mark(self, prompt: Any, sampling_params: Any) -> None:
        """Put the facts of the call being served into *sampling_params*; never raises."""
        extra_args = dict(sampling_params.extra_args or {})
        extra_args.pop(EXTRA_ARGS_KEY, None)
        try:
            if (arrived := arrival.get()) is not None:
                application, call = self._facts(arrived, prompt, sampling_params)
                extra_args[EXTRA_ARGS_KEY] = pack(application, call)
        except Exception as exc:  # whatever it is, the user's call goes through
            count_hints("failed", repr(exc))
        sampling_params.extra_args = extra_args or None

    def predict(self, hints: ApplicationHints, tenant: str, **known: Any) -> ApplicationFacts:
        """Return the facts of an application, its cost predicted from *hints* and *known*."""
        question = Question(hints.type, tenant, plan=hints.plan, input_text=hints.input, **known)
        prediction = self._ask(question)
        facts = ApplicationFacts(
            scoped_id(tenant, hints.app),
            hints.type,
            tenant,
            hints.weight,
            prediction.cost,
            prediction.source,
            prediction.declared_cost,
        )
        typical = prediction.output_tokens_per_call
        stages = outlooks(hints.plan, typical_output_tokens=typical) if hints.plan else {}
        self._remember(facts, stages)
        return facts

    def _facts(
        self, arrived: Arrival, prompt: Any, sampling: Any
    ) -> tuple[ApplicationFacts, CallFacts]:
        told = arrived.hints.call
        hints = arrived.hints.application
        count_hints("absent" if hints is None else "ok")
        if hints is None:
            return self._alone(arrived.tenant, prompt, sampling), CallFacts()
        app_id = scoped_id(arrived.tenant, hints.parent or hints.app)
        facts = self._recall(app_id)
        if facts is None:
            facts = self.predict(_root(hints), arrived.tenant, **_known(prompt, sampling))
        expected = self._applications[app_id].stages.get(told.stage or "")
        index = told.stage_index
        if index is None:
            index = expected.stage_index if expected else 0
        call = CallFacts(
            told.call,
            told.attempt or arrived.attempt,
            told.stage,
            index,
            told.last,
            expected.critical_path if expected else 0.0,
            expected.output_tokens if expected else None,
        )
        return facts, call

    def _alone(self, tenant: str, prompt: Any, sampling: Any) -> ApplicationFacts:
        """Return the facts of a call that names no application: one of its own."""
        question = Question(UNHINTED_TYPE, tenant, is_single_call=True, **_known(prompt, sampling))
        prediction = self._ask(question)
        return ApplicationFacts(
            f"call-{uuid4().hex}",
            UNHINTED_TYPE,
            tenant,
            predicted_cost=prediction.cost,
            prediction_source=prediction.source,
            is_single_call=True,
        )

    def _ask(self, question: Question) -> Prediction:
        prediction = self.predictor.predict(question)
        PREDICTIONS.labels(prediction.source).inc()
        return prediction

    def _recall(self, app_id: str) -> ApplicationFacts | None:
        remembered = self._applications.get(app_id)
        if remembered is None or remembered.until_at < time.monotonic():
            return None
        return remembered.facts

    def _remember(self, facts: ApplicationFacts, stages: dict[str, Outlook]) -> None:
        self._applications.pop(facts.app_id, None)
        until_at = time.monotonic() + FACTS_KEPT_S
        self._applications[facts.app_id] = _Remembered(facts, until_at, stages)
        if len(self._applications) > NUM_APPLICATIONS_KEPT:
            self._applications.popitem(last=False)

    def forget(self, app_id: str) -> None:
        """Drop what is remembered of a finished application."""
        self._applications.pop(app_id, None)


def scoped_id(tenant: str, app_id: str) -> str:
    """Return the scheduler's id of *app_id*: clients choose ids, and must not meet each other's."""
    return app_id if tenant == DEFAULT_TENANT else f"{tenant}/{app_id}"


def _root(hints: ApplicationHints) -> ApplicationHints:
    """Return the application to charge: the root where a child names one."""
    if hints.parent is None:
        return hints
    return ApplicationHints(hints.parent, hints.type, hints.weight)


def _known(prompt: Any, sampling: Any) -> dict[str, Any]:
    """Return what the engine's own input tells of a call's size."""
    token_ids = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
    most = sampling.max_tokens
    return {
        "first_prompt_tokens": len(token_ids) if token_ids else None,
        "min_output_tokens": most if sampling.ignore_eos and most else sampling.min_tokens,
        "max_output_tokens": most,
    }
