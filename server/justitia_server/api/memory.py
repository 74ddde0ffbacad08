"""
What the API process remembers of applications between their calls, in bounded memory.

The engine holds the truth, so forgetting is harmless: who is forgotten is predicted anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace

from ..fairness.accounts import ApplicationFacts
from ..prediction.base import Question
from ..prediction.outlook import Outlook, outlooks

NUM_KEPT = 65_536
KEPT_S = 3600.0


@dataclass(slots=True)
class Remembered:
    """
    One application.

    Attributes:
        facts: As its calls carry them to the engine.
        question: What was asked of it, without its text; the plan is the one last taken up.
        stages: What is expected of its calls, by their stage.
        until_at: When it is forgotten, in monotonic seconds.
        has_begun: Whether a call of it has come.
    """

    facts: ApplicationFacts
    question: Question
    stages: dict[str, Outlook]
    until_at: float
    has_begun: bool = False


class Memory:
    """Applications by their id, the latest told."""

    def __init__(self) -> None:
        self._applications: OrderedDict[str, Remembered] = OrderedDict()

    def recall(self, app_id: str) -> Remembered | None:
        """Return what is known of *app_id*; None if nothing is, or nothing any more."""
        remembered = self._applications.get(app_id)
        if remembered is None or remembered.until_at < time.monotonic():
            return None
        return remembered

    def remember(
        self, facts: ApplicationFacts, question: Question, *, typical_output_tokens: int
    ) -> Remembered:
        """Remember what is known of an application now; that its calls have begun stays."""
        before = self._applications.pop(facts.app_id, None)
        plan = question.plan
        remembered = Remembered(
            facts,
            replace(question, input_text=None),
            outlooks(plan, typical_output_tokens=typical_output_tokens) if plan else {},
            time.monotonic() + KEPT_S,
            has_begun=before is not None and before.has_begun,
        )
        self._applications[facts.app_id] = remembered
        if len(self._applications) > NUM_KEPT:
            self._applications.popitem(last=False)
        return remembered

    def forget(self, app_id: str) -> None:
        """Drop what is known of *app_id*, if anything is."""
        self._applications.pop(app_id, None)
