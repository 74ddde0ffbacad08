"""
Following one running application: its calls, what they change, and whom it is worth telling.

The same rules for the server and for the simulator:
- The first call of an application whose type is scouted goes ahead as a scout, if it is one
  sequence: ten samples of a prompt are no small call.
- A prediction is revised when a call has finished or a wave has begun; it is told where it differs
  by enough from what was told last.
- Of one that has shown nothing yet a revision, for which more is known of its type, moves the order
  either way, as if told so at arrival; so does the first one after a scout has finished.
  Every other one moves it downwards only.
- A plan told on the way is taken up at once, and is no news later.
- A retried call counts once, by its latest attempt; what the others used stays used.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from justitia_sdk.plan import Plan

from ..fairness.cost import CostModel
from .base import Case, Predictor

LEAST_CHANGE = 0.02  # of the cost told last, from which on a revision is told
NUM_CALLS_KEPT = 256  # of an application, the latest, that may be tried again


@dataclass(frozen=True, slots=True)
class Revision:
    """
    A prediction to be told to the scheduler.

    Attributes:
        cost: Of the whole application, above 0.
        both_ways: The order follows it upwards, too.
    """

    cost: float
    both_ways: bool


@dataclass(slots=True)
class _Attempt:
    """The latest attempt at a call: its number, and how many of its samples have completed."""

    number: int
    num_done: int = 0


class Following:
    """One application under way, and its case."""

    __slots__ = ("_calls", "_cost_model", "_is_first", "_told_cost", "_was_scouted", "case",
                 "has_news")  # fmt: skip

    def __init__(self, case: Case, cost_model: CostModel) -> None:
        """
        Follow *case*, just opened.

        Args:
            case: What is predicted, and seen.
            cost_model: The unit of the costs.
        """
        self.case = case
        self.has_news = False  # its course has changed since the last revision
        self._cost_model = cost_model
        self._told_cost = case.prediction.cost
        self._is_first = True  # no call has claimed to go ahead
        self._was_scouted = False  # and not revised since
        self._calls: OrderedDict[str, _Attempt] = OrderedDict()  # by id: the latest

    @property
    def has_begun(self) -> bool:
        """Whether a call of it has begun."""
        return self.case.course.num_begun > 0

    def replan(self, plan: Plan, predictor: Predictor) -> float:
        """Take up a plan told on the way; return the cost that is predicted now, to be told."""
        self._told_cost = predictor.replan(self.case, plan).cost
        return self._told_cost

    def look_again(self) -> None:
        """Ask again although nothing has happened to it: more is known of others."""
        self.has_news = True

    def claim_scout(self, num_samples: int = 1) -> bool:
        """Tell whether the call that comes now goes ahead as a scout; at most one does."""
        claims = self._is_first and self.case.prediction.is_scouted and num_samples == 1
        self._was_scouted |= claims
        self._is_first = False
        return claims

    def begin_call(
        self,
        num_prompt_tokens: int,
        *,
        call_id: str | None = None,
        attempt: int = 0,
        num_samples: int = 1,
    ) -> None:
        """Take notice of a call, of so many samples of one prompt."""
        course = self.case.course
        before = self._calls.get(call_id) if call_id is not None and attempt else None
        for sample in range(num_samples):
            if before is None:
                course.begin_call(num_prompt_tokens)
            else:
                course.retry_call(num_prompt_tokens, was_done=sample < before.num_done)
        if call_id is not None:
            self._note(call_id, _Attempt(attempt))
        # What the first wave tells was mostly known; what comes later has unfolded.
        self.has_news |= course.num_done > 0

    def end_call(
        self,
        num_prompt_tokens: int,
        num_output_tokens: int,
        *,
        call_id: str | None = None,
        attempt: int = 0,
    ) -> None:
        """Take notice of a call, or of one of its samples, that has completed."""
        latest = self._calls.get(call_id) if call_id is not None else None
        if latest is not None:
            if attempt < latest.number:  # given up by its client, which has begun another
                self.abort_call(num_prompt_tokens)
                return
            latest.num_done += 1
        cost = self._cost_model.call_cost(num_prompt_tokens, num_output_tokens)
        self.case.course.end_call(num_prompt_tokens, num_output_tokens, cost)
        self.has_news = True

    def abort_call(self, num_prompt_tokens: int) -> None:
        """Take notice of a call, or of one of its samples, that ended without completing."""
        self.case.course.abort_call(num_prompt_tokens)

    def revise(self, predictor: Predictor) -> Revision | None:
        """Ask *predictor* again if there is news; return what is worth telling, if anything."""
        if not self.has_news:
            return None
        self.has_news = False
        cost = predictor.revise(self.case).cost
        both_ways = not self.case.course.num_done
        if self.case.course.num_done:
            both_ways, self._was_scouted = self._was_scouted, False
        if abs(cost - self._told_cost) < LEAST_CHANGE * self._told_cost:
            return None
        self._told_cost = cost
        return Revision(cost, both_ways)

    def _note(self, call_id: str, attempt: _Attempt) -> None:
        self._calls[call_id] = attempt
        if len(self._calls) > NUM_CALLS_KEPT:
            self._calls.popitem(last=False)
