"""
Where a call meets the engine: hints and prediction become the facts the scheduler reads.

The one seam is `engine_client.generate`, which every generating endpoint of vLLM ends in (chat,
completions, responses, …): just before, the call's facts are put into its sampling parameters.
A client's own `extra_args["justitia"]` is always overwritten: tenant and cost are ours to say.

An application is predicted once, and again when a call or an announcement of it tells a plan that
goes beyond the one known (`plans`): structure found on the way.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

from justitia_sdk.plan import Plan
from justitia_sdk.protocol import ApplicationHints

from ..engine.carrier import EXTRA_ARGS_KEY, pack
from ..fairness.accounts import DEFAULT_TENANT, UNHINTED_TYPE, ApplicationFacts, CallFacts
from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..prediction.base import Case, Predictor, Question
from ..prediction.following import Following
from ..prediction.online import Learned
from .arrival import Arrival, arrival
from .followed import FollowedCall, follow
from .memory import Memory, Remembered
from .metrics import PREDICTION_SECONDS, PREDICTIONS, count_failure, count_hints
from .plans import goes_beyond

NUM_FOLLOWED = 8_192  # at once: their texts and courses are kept


class Intake:
    """Turns what arrives over HTTP into facts for the scheduler."""

    def __init__(
        self,
        predictor: Predictor,
        cost_model: CostModel = KV_TOKEN_TIME,
        *,
        on_news: Callable[[str, Following], None] = lambda app_id, following: None,
        on_plan: Callable[[str, float], None] = lambda app_id, cost: None,
        follows: bool = True,
        process: int = 0,
    ) -> None:
        """
        Begin with nobody here.

        Args:
            predictor: Asked once an application, and learns.
            cost_model: The unit of the costs.
            on_news: Told when an application's course has changed.
            on_plan: Told what a running application is predicted to cost by a plan that one of its
                calls has told.
            follows: Look at what calls bring; else an application is predicted at its arrival only.
            process: Number of this API process.
        """
        self.predictor = predictor
        self._cost_model = cost_model
        self._on_news = on_news
        self._on_plan = on_plan
        self._follows = follows
        self._process = process
        self._memory = Memory()
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

    def announce(self, hints: ApplicationHints, tenant: str) -> tuple[ApplicationFacts, bool]:
        """
        Take in what is told of an application besides its calls.

        Until its first call all of it counts, afterwards a plan that goes beyond the one known.

        Returns:
            Its facts, and whether they are news to those who serve it.
        """
        remembered = self._memory.recall(scoped_id(tenant, hints.app))
        if remembered is None or not remembered.has_begun:
            return self.predict(hints, tenant).facts, True
        if not goes_beyond(hints.plan, remembered.question.plan):
            return remembered.facts, False
        return self._replan(remembered, hints.plan).facts, True

    def predict(self, hints: ApplicationHints, tenant: str, **known: Any) -> Remembered:
        """Predict the cost of an application from *hints* and *known*; return what is known now."""
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
            predicted_by=self._process,
        )
        self._follow(facts.app_id, case)
        return self._memory.remember(
            facts, question, typical_output_tokens=prediction.output_tokens_per_call
        )

    def case_of(self, app_id: str) -> Case | None:
        """Return what has been seen of an application that goes on."""
        following = self._following.get(app_id)
        return None if following is None else following.case

    def forget(self, app_id: str) -> Case | None:
        """Drop what is remembered of an application that has ended; return what was seen of it."""
        self._memory.forget(app_id)
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
        hints = _root(hints)
        app_id = scoped_id(arrived.tenant, hints.app)
        remembered = self._memory.recall(app_id)
        if remembered is None:
            remembered = self.predict(hints, arrived.tenant, **_known(prompt, sampling))
        elif goes_beyond(hints.plan, remembered.question.plan):
            remembered = self._take_up(remembered, hints.plan)
        remembered.has_begun = True
        following = self._following.get(app_id)
        is_scout = following is not None and following.claim_scout(sampling.n)
        call = self._call_facts(remembered, arrived, is_scout=is_scout)
        return remembered.facts, call, self._followed_call(app_id, call, prompt, sampling)

    def _call_facts(self, remembered: Remembered, arrived: Arrival, *, is_scout: bool) -> CallFacts:
        told = arrived.hints.call
        expected = remembered.stages.get(told.stage or "")
        index = told.stage_index
        if index is None:
            index = expected.stage_index if expected else 0
        tokens = expected.output_tokens if expected else None
        if is_scout and tokens is None:
            following = self._following[remembered.facts.app_id]
            tokens = following.case.prediction.output_tokens_per_call
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
            predicted_by=self._process,
        )

    def _ask(self, question: Question) -> Case:
        began = time.perf_counter()
        case = self.predictor.open(question)
        PREDICTION_SECONDS.labels("arrival").observe(time.perf_counter() - began)
        PREDICTIONS.labels(case.prediction.source).inc()
        return case

    def _take_up(self, remembered: Remembered, plan: Plan) -> Remembered:
        """Take up a plan that a call has told, and let those who serve it know."""
        try:
            remembered = self._replan(remembered, plan)
        except Exception as exc:  # it goes on as it was predicted
            count_failure("replan", exc)
        else:
            self._on_plan(remembered.facts.app_id, remembered.facts.predicted_cost)
        return remembered

    def _replan(self, remembered: Remembered, plan: Plan) -> Remembered:
        """Predict one that runs anew, with *plan*; what was seen of it stays."""
        following = self._following.get(remembered.facts.app_id)
        if following is None:  # nothing was seen of it, or nothing is known of that any more
            following = Following(self.predictor.open(remembered.question), self._cost_model)
        cost = following.replan(plan, self.predictor)
        return self._memory.remember(
            replace(remembered.facts, predicted_cost=cost, prediction_source="plan"),
            replace(remembered.question, plan=plan),
            typical_output_tokens=following.case.prediction.output_tokens_per_call,
        )

    def _follow(self, app_id: str, case: Case) -> None:
        """Follow an application; one whose calls have begun is followed as it was."""
        following = self._following.pop(app_id, None)
        if not self._follows:
            return
        if following is None or not following.has_begun:
            following = Following(case, self._cost_model)
        self._following[app_id] = following
        if len(self._following) > NUM_FOLLOWED:
            self._following.popitem(last=False)


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
