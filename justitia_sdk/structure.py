"""
What is known of one application's structure: its plan, as it grows, and its stages' numbers.

What the user declares stands; what a framework shows is added to it. Safe to use from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from .failopen import fail_open
from .plan import Plan, Stage


class Structure:
    """
    The plan and the stages of one application.

    Args:
        plan: As declared at its beginning, if it was.
        numbered: Stages that have numbers already, in their order.
    """

    def __init__(self, plan: Plan | None, *, numbered: Iterable[str] = ()) -> None:
        self._plan = plan
        self._is_declared = plan is not None
        self._declared: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._lock = threading.RLock()
        self._number(numbered)
        self._number(stage.name for stage in (plan.stages if plan else ()))

    @property
    def plan(self) -> Plan | None:
        """What is known so far; None as long as nothing is."""
        return self._plan

    @property
    def stages(self) -> list[str]:
        """Names of the stages that have numbers, in order."""
        return list(self._numbers)

    def number_of(self, stage: str) -> int:
        """Return the place of *stage*: as the plan has it, else in the order of first use."""
        number = self._numbers.get(stage)
        if number is None:
            with self._lock:
                self._number([stage])
                number = self._numbers[stage]
        return number

    def declare(self, stage: Stage, *, is_counted: bool = True) -> bool:
        """
        Take the user's word for one stage; return whether that changed the plan.

        Args:
            stage: Its calls, its turns and their output; what else is known of it stands.
            is_counted: Whether the user said how many calls there are.

        Changes: the plan, where *stage* takes the place of the one of its name.
        """
        with self._lock:
            self._declared.add(stage.name)
            return self._take([self._completed(stage, is_counted)])

    def expect(self, plan: Plan) -> bool:
        """
        Take note of what was found out; return whether that changed the plan.

        Nothing declared is touched: where the user gave a plan, that is the plan. Stages stand as
        *plan* has them, those it lacks behind them.
        """
        with self._lock:
            if self._is_declared:
                return False
            before = self._plan
            self._take(stage for stage in plan.stages if stage.name not in self._declared)
            rank = {stage.name: place for place, stage in enumerate(plan.stages)}
            if self._plan is not None:
                stages = sorted(self._plan.stages, key=lambda s: rank.get(s.name, len(rank)))
                self._plan = Plan(tuple(stages))
            return self._plan != before

    def _completed(self, stage: Stage, is_counted: bool) -> Stage:
        stages = self._plan.stages if self._plan else ()
        known = next((each for each in stages if each.name == stage.name), stage)
        calls, loop = (stage.calls, stage.loop) if is_counted else (known.calls, known.loop)
        output_tokens = stage.output_tokens or known.output_tokens
        return replace(known, calls=calls, loop=loop, output_tokens=output_tokens)

    def _take(self, stages: Iterable[Stage]) -> bool:
        before = self._plan
        for stage in stages:
            with fail_open("plan", "a stage is left out of the plan"):  # one too many
                self._plan = (self._plan or Plan(())).with_stage(stage)
                self._number([stage.name])
        return self._plan != before

    def _number(self, names: Iterable[str]) -> None:
        for name in names:
            self._numbers.setdefault(name, len(self._numbers))
