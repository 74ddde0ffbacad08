"""
The predictor in the loop: asked when an application arrives, again while it runs, told its end.

Who answers:

    own, pooled        the trained model, weighed with one of those below (`rivals`)
    calibrated, plan   the declared plan (`ladder`)
    type, prior        what the type has cost; nothing is known

Rules, whoever answers:
- Told is the mean of what is expected, not the median: of a type with a few very large ones the
  order loses more by one that is larger than told than it wins by many that are smaller.
- Costs that a model is shown and trained with are as if nothing were shared; what it says is scaled
  by the part that the type is really charged.
- Those running count with what they are predicted to cost: the small ones end first, so by what has
  ended alone a type looks too cheap.
- One that has shown nothing yet is asked again when much more is known of its type.
- Declared structure counts; a declared cost counts until there is evidence (`ratios`), and the
  answers of a model, which may have been told it, are held against what such applications cost.
- Nobody is predicted below what was used by now, or above what any application may cost.
- A plan told on the way is followed alone, and at its word: a model is trained with what was told
  at arrival, and what plans are worth was learned from those.
- A model that fails is counted and passed over.

A tenant's evidence moves nobody else's predictions, but for what the pooled part of a model learns:
whoever trains one bounds the share of each tenant in what it is trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from justitia_sdk.plan import Plan

from ..fairness.accounts import UNHINTED_TYPE
from ..fairness.cost import KV_TOKEN_TIME, CostModel
from ..fairness.samples import Sample
from .base import Case, Example, Model, Prediction, Question
from .course import Course
from .hashing import hash_text
from .histories import Histories
from .ladder import MOST_COST, LadderPredictor
from .open_case import OpenCase, expected_cost
from .ratios import Ratios
from .rivals import Rivals
from .scouting import Scouting

MOST_TEXT_KEPT = 65_536  # characters, where texts may be kept at all
MOST_TRUSTED_FACTOR = 1.5  # by which answers may be off, in the median, before they are corrected
ASKED_AGAIN_AT = frozenset({1, 2, 3, 5, 8, 13, 21, 34, 55, 89})  # applications of a type ended
GLIMPSED_AT = frozenset({1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 100, 200})  # calls done


@dataclass(frozen=True, slots=True)
class Learned:
    """
    Of whom more is known than before.

    Attributes:
        types: By tenant and type.
        everything: There is another model.
    """

    types: frozenset[tuple[str, str]] = frozenset()
    everything: bool = False

    def concerns(self, case: Case) -> bool:
        """Tell whether *case* is worth asking again: nothing has been seen of it yet."""
        question = case.question
        is_known_better = self.everything or (question.tenant, question.app_type) in self.types
        return is_known_better and not case.course.num_done


class OnlinePredictor:
    """Predicts with the best that is known, and learns from applications that have ended."""

    def __init__(
        self,
        cost_model: CostModel = KV_TOKEN_TIME,
        *,
        model: Model | None = None,
        keep: Callable[[Example], None] | None = None,
        keeps_text: bool = False,
        scouts: bool = True,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Begin without evidence.

        Args:
            cost_model: The unit of the costs.
            model: A trained model, if there is one.
            keep: Told of every example to train with later; nobody learns from them otherwise.
            keeps_text: Examples may hold the input text itself.
            scouts: First calls may go ahead where that pays.
            now: Unix seconds, for the examples.
        """
        self.histories = Histories()
        self.ladder = LadderPredictor(cost_model, histories=self.histories)
        self.scouting = Scouting()
        self.num_failed = 0  # answers that a model could not give
        self._cost_model = cost_model
        self._model = model
        self._keep = keep
        self._keeps_text = keeps_text
        self._scouts = scouts
        self._now = now
        self._ratios = Ratios()  # cost over what the model had said
        self._ratios_ever = Ratios()  # the same of whichever version it was
        self._rivals = Rivals()
        self._learned_types: set[tuple[str, str]] = set()
        self._has_other_model = False

    def use(self, model: Model | None) -> None:
        """Answer with *model* from now on; None for no model. What was seen of types stays."""
        self._model = model
        self._has_other_model = True
        self._ratios = Ratios()  # what the one before was off by says nothing of this one

    # -- predictions ---------------------------------------------------------------------

    def open(self, question: Question) -> OpenCase:
        """Return a case with the predicted cost; always answers."""
        told, text = question.input_text, None
        if told is not None and (self._model or self._keep):  # else nobody reads it
            text = hash_text(told, num_chars=question.input_chars)
        tenant, app_type = question.tenant, question.app_type
        laddered = self.ladder.predict(question)
        is_absurd = laddered.declared_cost >= MOST_COST
        kept = self._without_text(question, is_absurd=is_absurd)
        if is_absurd:
            laddered = replace(self.ladder.predict(kept), declared_cost=laddered.declared_cost)
        case = OpenCase(kept, self.histories.standing(tenant, app_type), laddered, text)
        if not question.is_single_call:  # of one call the prompt is known, and that is most of it
            case.prediction = self._answer(case, laddered)
            if self._scouts and self.scouting.pays(tenant, app_type, kept.plan):
                case.prediction = replace(case.prediction, is_scouted=True)
        case.at_arrival = case.prediction
        return case

    def revise(self, case: Case) -> Prediction:
        """
        Return, and keep in *case*, the prediction after what its course shows by now.

        Cost: that of the model's answer, and some microseconds.
        """
        assert isinstance(case, OpenCase)
        course = case.course
        self._learn_calls(case)
        if not course.num_done:
            self._look_again(case)
        prediction = self._answer(case, self._laddered(case))
        least = self._charged_ratio(case) * self._used(course)
        if not prediction.cost >= least:
            prediction = replace(prediction, cost=least, high=max(prediction.high, least))
        case.prediction = prediction
        if course.num_done:
            history = self.histories.recall(case.question.tenant, case.question.app_type)
            history.note_running(id(case), prediction.cost / history.charged)
            case.after_first = case.after_first or prediction
            if course.num_done in GLIMPSED_AT:
                _take_glimpse(course, case.glimpses)
        return prediction

    def replan(self, case: Case, plan: Plan) -> Prediction:
        """
        Return, and keep in *case*, the prediction now that it has told *plan* on its way.

        A plan out of all measure is counted and passed over.
        """
        assert isinstance(case, OpenCase)
        told = self.ladder.predict(replace(case.question, plan=plan))
        if told.declared_cost < MOST_COST:
            case.plan = plan
        return self.revise(case)

    # -- learning ------------------------------------------------------------------------

    def observe(self, sample: Sample, case: Case | None = None, *, is_own: bool = True) -> None:
        """
        Learn from an application that has ended; *case* if it was seen on the way.

        Its example is kept if *is_own*: of several processes, the one that predicted it keeps it.
        One that was seen in part (another process served some of its calls) teaches what it cost,
        and nothing of its course. One that goes on, and has cost more than was told, teaches what
        is told of its like is worth, so that never ending hides nothing.
        """
        self.ladder.observe(sample)
        if isinstance(case, OpenCase):
            self._judge(sample, case)
        if not sample.has_ended:
            return
        history = self.histories.recall(sample.tenant, sample.app_type)
        if history.num_seen in ASKED_AGAIN_AT:
            self._learned_types.add((sample.tenant, sample.app_type))
        if not isinstance(case, OpenCase):
            if sample.num_calls:
                history.add_calls(sample.num_calls, sample.num_output_tokens)
            return
        self._learn_calls(case)
        history.drop_running(id(case))
        if case.question.is_single_call or sample.app_type == UNHINTED_TYPE:
            return
        was_seen = case.course.num_done >= sample.num_calls
        if was_seen and case.at_arrival and case.after_first:
            self.scouting.observe(
                sample.tenant,
                sample.app_type,
                at_arrival=case.at_arrival.cost,
                after_first=case.after_first.cost,
                cost=sample.cost,
            )
        if self._keep is not None and is_own:
            glimpses = tuple(case.glimpses) if was_seen else ()
            question, cost = case.question, sample.unshared_cost
            self._keep(Example(question, case.standing, case.text, glimpses, cost, self._now()))

    def take_learned(self) -> Learned | None:
        """Return of whom much more is known since this was asked last; None where of nobody."""
        if not self._learned_types and not self._has_other_model:
            return None
        learned = Learned(frozenset(self._learned_types), self._has_other_model)
        self._learned_types.clear()
        self._has_other_model = False
        return learned

    # -- inside --------------------------------------------------------------------------

    def _without_text(self, question: Question, *, is_absurd: bool) -> Question:
        """Return what may be kept of *question*: not its text, and no plan out of all measure."""
        text = question.input_text
        if text is not None and not self._keeps_text:
            question = replace(question, input_text=None, input_chars=None)
        elif text is not None and len(text) > MOST_TEXT_KEPT:
            length = question.input_chars or len(text)
            question = replace(question, input_text=text[:MOST_TEXT_KEPT], input_chars=length)
        return replace(question, plan=None) if is_absurd else question

    def _judge(self, sample: Sample, case: OpenCase) -> None:
        """Learn how far off the model was if told a plan, and who was closer, it or the ladder."""
        if case.modelled_cost and case.question.plan is not None:
            ratio = sample.unshared_cost / case.modelled_cost
            for ratios in (self._ratios, self._ratios_ever):
                ratios.add(sample.tenant, sample.app_type, ratio)
        pairs = ((False, case.rivals_at_arrival), (True, case.rivals_after_first))
        for running, pair in pairs:
            if pair is not None:
                self._rivals.observe(
                    sample.tenant, sample.app_type,
                    running=running, model=pair[0], other=pair[1], cost=sample.cost,
                )  # fmt: skip

    def _learn_calls(self, case: OpenCase) -> None:
        """Learn what the calls completed since last time have produced."""
        course = case.course
        num_calls = course.num_done - case.num_calls_learned
        if num_calls > 0:
            tokens = course.output_tokens - case.num_tokens_learned
            question = case.question
            history = self.histories.recall(question.tenant, question.app_type)
            before = history.output_tokens_per_call.num_seen
            history.add_calls(num_calls, tokens)
            if before.bit_length() < history.output_tokens_per_call.num_seen.bit_length() < 8:
                self._learned_types.add((question.tenant, question.app_type))
            case.num_calls_learned = course.num_done
            case.num_tokens_learned = course.output_tokens

    def _look_again(self, case: OpenCase) -> None:
        """Take what is known of its type by now: nothing has been seen of it, but of others."""
        question = case.question
        standing = self.histories.standing(question.tenant, question.app_type)
        if standing != case.standing:
            case.standing, case.memo = standing, None

    def _laddered(self, case: OpenCase) -> Prediction:
        """Return the prediction without a model, in a view of the course."""
        question = case.question
        if case.plan is not None:
            question = replace(question, plan=case.plan)
        if not case.course.num_done:
            told = self.ladder.predict(question)
            if case.plan is not None:
                at_its_word = self._charged_ratio(case) * told.declared_cost
                told = replace(told, cost=max(at_its_word, 1.0), source="plan")
            return replace(told, is_scouted=case.prediction.is_scouted)
        cost = self.ladder.revise(question, case.course)
        return case.prediction if cost is None else replace(case.prediction, cost=max(cost, 1.0))

    def _correction(self, question: Question) -> float | None:
        """
        Return what the model's answers are multiplied by; None where nothing is to be made of them.

        A plan is the tenant's own word. Where what it leads the model to say is far from what such
        applications have cost, that counts; small differences are chance. A version that has not
        been tried on such plans yet is not asked where plans were far from the truth by themselves,
        but for those that the versions before it have seen through: else each would be led by them
        anew.
        """
        if question.plan is None:
            return 1.0
        tenant, app_type = question.tenant, question.app_type
        of_model = self._ratios.median(tenant, app_type)
        if of_model is not None:
            return of_model if _is_far(of_model) else 1.0
        of_plan = self.ladder.plan_ratio(question)
        if of_plan is None or not _is_far(of_plan):
            return 1.0
        of_others = self._ratios_ever.median(tenant, app_type)
        return None if of_others is None or _is_far(of_others) else 1.0

    def _answer(self, case: OpenCase, laddered: Prediction) -> Prediction:
        """Return the best answer in view of the course: the model's, weighed with *laddered*."""
        modelled = self._modelled(case) if case.plan is None else None
        if modelled is None:
            return laddered
        if case.at_arrival is None:
            case.modelled_cost = modelled.cost
        correction = self._correction(case.question)
        told = self._told(modelled, case, correction or 1.0)
        running = case.course.num_done > 0
        pair = (told.cost, laddered.cost)
        if case.at_arrival is None:
            case.rivals_at_arrival = pair
        elif running:
            case.rivals_after_first = case.rivals_after_first or pair
        if correction is None:
            return laddered
        question = case.question
        weight = self._rivals.weight(question.tenant, question.app_type, running=running)
        return replace(told, cost=told.cost**weight * laddered.cost ** (1 - weight))

    def _modelled(self, case: OpenCase) -> Prediction | None:
        """Return the model's answer as it gives it; None where it has none."""
        if self._model is None or case.question.is_single_call:
            return None
        try:
            answer = self._model.predict(case)
        except Exception:  # whatever is wrong with it, there are other rungs
            self.num_failed += 1
            return None
        if answer is not None and not 0 < answer.cost < float("inf"):
            self.num_failed += 1
            return None
        return answer

    def _told(self, answer: Prediction, case: OpenCase, correction: float) -> Prediction:
        """Return the model's *answer* corrected and in the unit that is charged."""
        done = case.course.cost
        charged = self._charged_ratio(case)
        # What is done is known: only the rest of it can be off.
        cost, low, high = (
            charged * (done + correction * max(value - done, 0.0))
            for value in (expected_cost(answer), answer.low, answer.high)
        )
        before = case.prediction
        return Prediction(
            min(max(cost, 1.0), MOST_COST), answer.source, before.declared_cost,
            before.output_tokens_per_call, low, high, before.is_scouted,
        )  # fmt: skip

    def _charged_ratio(self, case: Case) -> float:
        history = self.histories.of(case.question.tenant, case.question.app_type)
        return history.charged if history else 1.0

    def _used(self, course: Course) -> float:
        """Return the least that it has come to by now: each open call gives one token."""
        used = course.cost
        if course.num_open:
            one_token = self._cost_model.call_cost
            used += one_token(course.open_prompt_tokens, 1)
            used += (course.num_open - 1) * one_token(0, 1)
        return used


def _is_far(ratio: float) -> bool:
    return max(ratio, 1 / ratio) > MOST_TRUSTED_FACTOR


def _take_glimpse(course: Course, glimpses: list[Course]) -> None:
    """Add how *course* stands; of two with the same calls done the later shows the next wave."""
    if glimpses and glimpses[-1].num_done == course.num_done:
        glimpses.pop()
    glimpses.append(course.glimpse())
