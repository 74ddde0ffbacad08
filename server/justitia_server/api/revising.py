"""
A background task: predictions of running applications are revised, and told to the engines.

Away from every call's path. What has changed within a short time is told together, and nothing is
told before the last telling was answered, so however many calls end, the engine is asked at most
some twenty times a second.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..prediction.base import Predictor
from ..prediction.following import Following
from .engine_control import EngineControl
from .metrics import PREDICTION_SECONDS, REVISIONS, count_failure

INTERVAL_S = 0.05
NUM_AT_ONCE = 8  # revised before others get their turn in the event loop


class Reviser:
    """Revises the predictions of applications whose course has changed."""

    def __init__(self, predictor: Predictor, control: EngineControl) -> None:
        self._predictor = predictor
        self._control = control
        self._changed: dict[str, Following] = {}
        self._told: dict[str, float] = {}
        self._has_news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="justitia-reviser")

    def note(self, app_id: str, following: Following) -> None:
        """Take notice that an application's course may have changed."""
        if not following.has_news:
            return
        self._changed[app_id] = following
        self._has_news.set()

    def tell(self, app_id: str, cost: float) -> None:
        """Let the engines be told what a running application is predicted to cost."""
        self._told[app_id] = cost
        self._has_news.set()

    async def revise(self) -> None:
        """Revise what has changed by now and tell the engines; what cannot be told is counted."""
        self._has_news.clear()
        changed, self._changed = self._changed, {}
        told, self._told = self._told, {}
        revisions = [(app_id, cost, False) for app_id, cost in told.items()]
        for number, (app_id, following) in enumerate(changed.items(), start=1):
            revision = self._ask(following)
            if revision is not None:
                revisions.append((app_id, revision.cost, revision.both_ways))
            if not number % NUM_AT_ONCE:
                await asyncio.sleep(0)
        if revisions:
            await self._tell(revisions)

    def _ask(self, following: Following) -> Any:
        began = time.perf_counter()
        try:
            return following.revise(self._predictor)
        except Exception as exc:  # the prediction stays as it is
            count_failure("revise", exc)
            return None
        finally:
            PREDICTION_SECONDS.labels("revision").observe(time.perf_counter() - began)

    async def _tell(self, revisions: list[tuple[str, float, bool]]) -> None:
        try:
            await self._control.ask("revise", revisions=revisions)
        except Exception as exc:  # the engine may be busy, paused or going down
            REVISIONS.labels("failed").inc(len(revisions))
            count_failure("tell revisions", exc)
        else:
            REVISIONS.labels("told").inc(len(revisions))

    async def _run(self) -> None:
        while True:
            await self._has_news.wait()
            await asyncio.sleep(INTERVAL_S)
            await self.revise()
