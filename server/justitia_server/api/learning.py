"""A background task: poll the engines for finished applications, learn, export figures."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ..fairness.samples import Sample
from ..prediction.online import OnlinePredictor
from ..prediction.open_case import answer_of
from ..prediction.scoring import scores
from ..prediction.track_record import TrackRecord
from .engine_control import EngineControl
from .intake import Intake
from .metrics import PREDICTION_ERROR, export_predictor, export_state, warn_once

INTERVAL_S = 1.0


class Learner:
    """Feeds the predictor with what finished applications really cost."""

    def __init__(self, control: EngineControl, intake: Intake, predictor: OnlinePredictor) -> None:
        self._control = control
        self._intake = intake
        self._predictor = predictor
        self._track_record = TrackRecord()
        self._last_seq: list[int] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin polling in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="justitia-learner")

    async def poll(self) -> None:
        """Ask once: expire idle applications, learn from the finished, export the state."""
        for engine, answer in enumerate(await self._ask()):
            for fields in answer["samples"]:
                sample = Sample(**fields)
                self._last_seq[engine] = sample.seq
                self._learn(sample)
            export_state(engine, answer["state"])
        if (learned := self._predictor.take_learned()) is not None:
            self._intake.look_again(learned)
        await self._export_answers()

    def _learn(self, sample: Sample) -> None:
        # One that goes on is told of because it used more than was told; it is still followed.
        seen = self._intake.forget if sample.has_ended else self._intake.case_of
        case = seen(sample.app_id)
        # Where there are several API processes each sees some of its calls; one has predicted it.
        is_own = sample.predicted_by == self._control.process
        if is_own and (answer := answer_of(sample, case)) is not None:
            self._track_record.add(answer)
            PREDICTION_ERROR.observe(answer.relative_error)
        self._predictor.observe(sample, case, is_own=is_own)

    async def _export_answers(self) -> None:
        latest = self._track_record.take()
        # In a thread: the rank correlation of some hundred answers holds up others' calls.
        found = await asyncio.to_thread(scores, latest) if latest else None
        export_predictor(self._predictor, found)

    async def _ask(self) -> list[dict[str, Any]]:
        seen = min(self._last_seq, default=0)
        answers = await self._control.ask("poll", after_seq=seen)
        self._last_seq += [0] * (len(answers) - len(self._last_seq))
        for engine, answer in enumerate(answers):
            last = self._last_seq[engine]
            answer["samples"] = [sample for sample in answer["samples"] if sample["seq"] > last]
        return answers

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.poll()
            except asyncio.CancelledError:
                raise
            except Exception as exc:  # the engine may be busy, paused or going down
                with contextlib.suppress(Exception):
                    warn_once("poll", f"polling the scheduler failed: {exc!r}")
