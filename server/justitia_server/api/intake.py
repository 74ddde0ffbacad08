"""
Where a call meets the engine: hints and prediction become the facts the scheduler reads.

The one seam is `engine_client.generate`, which every generating endpoint of vLLM ends in (chat,
completions, responses, …): just before, the call's facts are put into its sampling parameters.
A client's own `extra_args["justitia"]` is always overwritten: tenant and cost are ours to say.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from justitia_sdk.protocol import ApplicationHints

from ..engine.carrier import EXTRA_ARGS_KEY, pack
from ..fairness.accounts import DEFAULT_TENANT, UNHINTED_TYPE, ApplicationFacts, CallFacts
from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..prediction.base import Case, Predictor, Question
from ..prediction.following import Following
from ..prediction.online import Learned
from ..prediction.outlook import Outlook, outlooks
from .arrival import Arrival, arrival
from .followed import FollowedCall, follow
from .metrics import PREDICTION_SECONDS, PREDICTIONS, count_hints

NUM_APPLICATIONS_KEPT = 65_536
NUM_FOLLOWED = 8_192  # at once: their texts and courses are kept
FACTS_KEPT_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Remembered:
    facts: ApplicationFacts
    until_at: float
    stages: dict[str, Outlook]


class Intake:
    """Turns what arrives over HTTP into facts for the scheduler."""

    def __init__(
        self,
        predictor: Predictor,
        cost_model: CostModel = KV_TOKEN_TIME,
        *,
        on_news: Callable[[str, Following], None] = lambda app_id, following: None,
        follows: bool = True,
    ) -> None:
        """
        Begin with nobody here.

        Args:
            predictor: Asked once an application, and learns.
            cost_model: The unit of the costs.
            on_news: Told when an application's course has changed.
            follows: Look at what calls bring; else an application is predicted at its arrival only.
        """
        self.predictor = predictor
        self._cost_model = cost_model
        self._on_news = on_news
        self._follows = follows
        # An application is predicted once; the engine holds the truth, so forgetting is harmless.
        self._applications: OrderedDict[str, _Remembered] = OrderedDict()
        self._following: OrderedDict[str, Following] = OrderedDict()

    def attach(self, engine_client: Any) -> None:
        """Let every call that *engine_client* generates carry its facts, and be followed."""
        generate = engine_client.generate

        def generate_with_facts(
            prompt: Any, sampling_params: Any, *args: Any, **kwargs: Any
        ) -> Any:
            call = self.mark(prompt, sampling_params)
            outputs = generate(prompt, sampling_params, *args, **kwargs)
            return outputs if call is None else follow(outputs, call)

        engine_client.generate = generate_with_facts

    def mark(self, prompt: Any, sampling_params: Any) -> FollowedCall | None:
        """
        Put the facts of the call being served into *sampling_params*; never raises.

        Returns:
            The call, where it belongs to an application that is followed.
        """
        extra_args = dict(sampling_params.extra_args or {})
        extra_args.pop(EXTRA_ARGS_KEY, None)
        followed = None
        try:
            if (arrived := arrival.get()) is not None:
                application, call, followed = self._take_in(arrived, prompt, sampling_params)
                extra_args[EXTRA_ARGS_KEY] = pack(application, call)
        except Exception as exc:  # whatever it is, the user's call goes through
            count_hints("failed", repr(exc))
        sampling_params.extra_args = extra_args or None
        return followed

    def predict(self, hints: ApplicationHints, tenant: str, **known: Any) -> ApplicationFacts:
        """Return the facts of an application, its cost predicted from *hints* and *known*."""
        question = Question(
            hints.type,
            tenant,
            plan=hints.plan,
            input_text=hints.input,
            input_chars=hints.input_chars,
            **known,
        )
        case = self._ask(question)
        prediction = case.prediction
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
        self._follow(facts.app_id, case)
        return facts

    def forget(self, app_id: str) -> Case | None:
        """Drop what is remembered of an application that has ended; return what was seen of it."""
        self._applications.pop(app_id, None)
        following = self._following.pop(app_id, None)
        return None if following is None else following.case

    def look_again(self, learned: Learned) -> None:
        """Let those be asked again who have shown nothing yet and of whose like more is known."""
        for app_id, following in self._following.items():
            if learned.concerns(following.case):
                following.look_again()
                self._on_news(app_id, following)

    # -- inside --------------------------------------------------------------------------

    def _take_in(
        self, arrived: Arrival, prompt: Any, sampling: Any
    ) -> tuple[ApplicationFacts, CallFacts, FollowedCall | None]:
        hints = arrived.hints.application
        count_hints("absent" if hints is None else "ok")
        if hints is None:
            return self._alone(arrived.tenant, prompt, sampling), CallFacts(), None
        app_id = scoped_id(arrived.tenant, hints.parent or hints.app)
        facts = self._recall(app_id)
        if facts is None:
            facts = self.predict(_root(hints), arrived.tenant, **_known(prompt, sampling))
        following = self._following.get(app_id)
        is_scout = following is not None and following.claim_scout(sampling.n)
        call = self._call_facts(app_id, arrived, is_scout=is_scout)
        return facts, call, self._followed_call(app_id, call, prompt, sampling)

    def _call_facts(self, app_id: str, arrived: Arrival, *, is_scout: bool) -> CallFacts:
        told = arrived.hints.call
        expected = self._applications[app_id].stages.get(told.stage or "")
        index = told.stage_index
        if index is None:
            index = expected.stage_index if expected else 0
        tokens = expected.output_tokens if expected else None
        if is_scout and tokens is None:
            tokens = self._following[app_id].case.prediction.output_tokens_per_call
        return CallFacts(
            told.call,
            told.attempt or arrived.attempt,
            told.stage,
            index,
            told.last,
            expected.critical_path if expected else 0.0,
            tokens,
            is_scout,
        )

    def _followed_call(
        self, app_id: str, call: CallFacts, prompt: Any, sampling: Any
    ) -> FollowedCall | None:
        """Return the call to follow; None where its application or its length is not known."""
        following = self._following.get(app_id)
        num_prompt_tokens = _num_prompt_tokens(prompt)
        if following is None or num_prompt_tokens is None:
            return None
        return FollowedCall(
            following,
            num_prompt_tokens=num_prompt_tokens,
            num_samples=sampling.n,
            call_id=call.call_id,
            attempt=call.attempt,
            is_delta=sampling.output_kind.name == "DELTA",  # by name: vLLM takes seconds to import
            on_news=lambda following: self._on_news(app_id, following),
        )

    def _alone(self, tenant: str, prompt: Any, sampling: Any) -> ApplicationFacts:
        """Return the facts of a call that names no application: one of its own."""
        question = Question(UNHINTED_TYPE, tenant, is_single_call=True, **_known(prompt, sampling))
        prediction = self._ask(question).prediction
        return ApplicationFacts(
            f"call-{uuid4().hex}",
            UNHINTED_TYPE,
            tenant,
            predicted_cost=prediction.cost,
            prediction_source=prediction.source,
            is_single_call=True,
        )

    def _ask(self, question: Question) -> Case:
        began = time.perf_counter()
        case = self.predictor.open(question)
        PREDICTION_SECONDS.labels("arrival").observe(time.perf_counter() - began)
        PREDICTIONS.labels(case.prediction.source).inc()
        return case

    def _follow(self, app_id: str, case: Case) -> None:
        """Follow an application; of one told again while it runs, what was seen stays."""
        if not self._follows:
            return
        following = self._following.pop(app_id, None)
        if following is None:
            following = Following(case, self._cost_model)
        else:
            following.reopen(case)
        self._following[app_id] = following
        if len(self._following) > NUM_FOLLOWED:
            self._following.popitem(last=False)

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
    most = sampling.max_tokens
    return {
        "first_prompt_tokens": _num_prompt_tokens(prompt),
        "min_output_tokens": most if sampling.ignore_eos and most else sampling.min_tokens,
        "max_output_tokens": most,
    }


def _num_prompt_tokens(prompt: Any) -> int | None:
    token_ids = prompt.get("prompt_token_ids") if isinstance(prompt, dict) else None
    return len(token_ids) if token_ids else None
