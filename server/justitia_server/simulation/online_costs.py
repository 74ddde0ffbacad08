"""
The server's own predictor in a simulation: asked, revised and taught as by a live server.

It begins without any knowledge. It is trained in line, at once and at no cost of time: first when
20 applications have ended, then whenever there are half as many again, from all that have ended.
Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from justitia_sdk.plan import Plan, plan_from

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.cost import CostModel
from ..fairness.samples import Sample
from ..prediction.base import Example, Model, Prediction, Question
from ..prediction.following import Following
from ..prediction.online import OnlinePredictor
from .costs import CallTold, Revised
from .workload import Arriving, Call

FIRST_TRAINING = 20  # examples
GROWTH = 1.5  # of their number, from one training to the next
MOST_EXAMPLES = 5_000

Train = Callable[[Sequence[Example]], Model]


class OnlineCosts:
    """The predictor in the loop."""

    def __init__(
        self,
        cost_model: CostModel,
        seed: int,
        *,
        without: frozenset[str] = frozenset(),
        train: Train | None = None,
    ) -> None:
        """
        Begin without knowledge.

        Args:
            cost_model: The unit of the policy.
            seed: Of training.
            without: Parts left out (`costs.PARTS`).
            train: Makes a model; the server's own way unless told.
        """
        self._cost_model = cost_model
        self._without = without
        self._train = train or _training(seed, cost_model)
        self._examples: list[Example] = []
        self._next_training = FIRST_TRAINING
        self._predictor = OnlinePredictor(
            cost_model, keep=self._examples.append, scouts="scout" not in without
        )
        self._following: dict[str, Following] = {}
        self._changed: dict[str, Following] = {}

    def predict(self, application: Arriving) -> Prediction:
        """Return what it says, knowing type, tenant, text, plan and the first call's prompt."""
        case = self._predictor.open(
            Question(
                application.app_type,
                application.tenant or DEFAULT_TENANT,
                plan=None if "plan" in self._without else _plan_of(application),
                input_text=None if "text" in self._without else application.input_text,
                first_prompt_tokens=application.calls[0].prompt_tokens,
            )
        )
        self._following[application.app_id] = Following(case, self._cost_model)
        return case.prediction

    def begin(self, app_id: str, call: Call) -> CallTold:
        """Take notice of a call; the first of a scouted type goes ahead."""
        following = self._following[app_id]
        is_scout = following.claim_scout(call.samples) and "revision" not in self._without
        following.begin_call(call.prompt_tokens, num_samples=call.samples)
        self._changed[app_id] = following
        return CallTold(is_scout, following.case.prediction.output_tokens_per_call)

    def end(self, app_id: str, call: Call) -> None:
        """Take notice of a sample of a call."""
        following = self._following[app_id]
        following.end_call(call.prompt_tokens, call.output_tokens)
        self._changed[app_id] = following

    def revisions(self) -> Sequence[Revised]:
        """Return the predictions that have changed."""
        if not self._changed:
            return ()
        self._look_again()
        changed, self._changed = self._changed, {}
        told = []
        for app_id, following in changed.items():
            revision = following.revise(self._predictor)
            if revision is not None and "revision" not in self._without:
                told.append(Revised(app_id, revision.cost, revision.both_ways))
        return told

    def observe(self, sample: Sample) -> None:
        """Learn from an application that has ended, and train when enough have."""
        if not sample.has_ended:
            following = self._following.get(sample.app_id)
            self._predictor.observe(sample, following.case if following else None)
            return
        following = self._following.pop(sample.app_id, None)
        self._changed.pop(sample.app_id, None)
        self._predictor.observe(sample, following.case if following else None)
        if len(self._examples) >= self._next_training and "model" not in self._without:
            self._predictor.use(self._train(self._examples[-MOST_EXAMPLES:]))
            self._next_training = int(GROWTH * len(self._examples))
        self._look_again()

    def _look_again(self) -> None:
        """Ask again of those who have shown nothing yet, where more is known of their like."""
        learned = self._predictor.take_learned()
        if learned is None:
            return
        for app_id, following in self._following.items():
            if learned.concerns(following.case):
                following.look_again()
                self._changed[app_id] = following


def _plan_of(application: Arriving) -> Plan | None:
    return plan_from(application.plan) if application.plan is not None else None


def _training(seed: int, cost_model: CostModel) -> Train:
    def train(examples: Sequence[Example]) -> Model:
        from ..prediction import learned  # loads torch

        model: Model = learned.train(examples, seed=seed, cost_model=cost_model)
        return model

    return train
