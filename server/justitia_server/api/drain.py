"""A background task: fetch what the engines keep for files, and write it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ..engine.settings import Settings
from ..engine.writing import write
from .engine_control import EngineControl
from .metrics import warn_once

logger = logging.getLogger("justitia.server.api")

INTERVAL_S = 1.0
TIME_TO_END_S = 10.0


class Drain:
    """Writes the step log and the recording that *settings* name."""

    def __init__(self, control: EngineControl, settings: Settings) -> None:
        self._control = control
        self._settings = settings
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def is_wanted(self) -> bool:
        """Whether there is a file to write."""
        return bool(self._settings.step_log or self._settings.record)

    def start(self, engine_client: Any) -> None:
        """
        Begin in the running event loop, and give the engines time to end when the server stops.

        As they end they write what has not been fetched; vLLM would kill them at once.

        Changes: *engine_client*'s `shutdown`.
        """
        shutdown = engine_client.shutdown

        def shutdown_in_order(timeout: float | None = None) -> None:
            self._is_ending = True
            shutdown(timeout=None if timeout is None else max(timeout, TIME_TO_END_S))

        engine_client.shutdown = shutdown_in_order
        self._task = asyncio.create_task(self._run(), name="justitia-drain")

    async def drain(self) -> None:
        """
        Fetch and write all there is.

        Raises:
            OSError: A file cannot be written; what was fetched for it is lost.
        """
        has_more = True
        while has_more:
            answers = await self._control.ask("drain")
            await asyncio.to_thread(self._write, answers)
            has_more = any(answer["has_more"] for answer in answers)

    def _write(self, answers: list[dict[str, Any]]) -> None:
        for answer in answers:
            for what, number in answer["lost"].items():
                if number:
                    logger.warning("%d %s were not fetched in time and are lost", number, what)
            write(self._settings, steps=answer["steps"], applications=answer["applications"])

    async def _run(self) -> None:
        while not self._is_ending:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.drain()
            except Exception as exc:  # the engine may be busy, the disk may be full
                if not self._is_ending:
                    warn_once("drain", f"step log or recording may have a gap: {exc!r}")
