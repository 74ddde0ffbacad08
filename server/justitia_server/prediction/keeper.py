"""
Keeping examples without holding anybody up: a short queue, and a thread that writes them.

Whoever serves only puts an example into the queue; where that is full the example is dropped and
counted. The thread writes what has come together in a second as one transaction. Whatever goes
wrong with the file costs examples, which are counted, and a line in the log; a file that turns out
to be damaged is set aside and begun anew.
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import KV_TOKEN_TIME
from .base import Example
from .database import is_damage, set_aside
from .store import FILE_NAME, Limits, Store

logger = logging.getLogger("justitia.server.prediction")

NUM_WAITING = 2_048
MOST_AT_ONCE = 512
INTERVAL_S = 1.0
RETRY_S = 60.0


class Keeper:
    """Writes the examples of one process into the store of a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        unit: str = KV_TOKEN_TIME.name,
        keep_text: bool = False,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        interval_s: float = INTERVAL_S,
        num_waiting: int = NUM_WAITING,
    ) -> None:
        """
        Be ready to start; nothing is touched yet.

        Args:
            folder: Of the store.
            unit: Name of the cost model in which costs are.
            keep_text: Keep input texts, too.
            limits: How much the store holds.
            clock: Unix seconds.
            interval_s: So long examples come together before they are written.
            num_waiting: So many may wait to be written.
        """
        self.num_stored = 0
        self.num_dropped = 0
        self._folder = folder
        self._unit, self._keep_text, self._limits = unit, keep_text, limits
        self._clock, self._interval_s = clock, interval_s
        self._waiting: queue.Queue[Example] = queue.Queue(num_waiting)
        self._is_ending = threading.Event()
        self._store: Store | None = None
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="justitia-keeper", daemon=True)

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def keep(self, example: Example) -> None:
        """Take *example* to be written soon; never waits, never raises."""
        try:
            self._waiting.put_nowait(example)
        except queue.Full:
            self.num_dropped += 1

    def close(self, *, within_s: float = 5.0) -> None:
        """Write what is waiting and end; give up after *within_s* seconds."""
        self._is_ending.set()
        if self._thread.is_alive():
            self._thread.join(within_s)

    # -- in the thread -------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_ending.wait(self._interval_s):
            self._write_waiting()
        self._write_waiting()
        if self._store is not None:
            self._store.close()

    def _write_waiting(self) -> None:
        while batch := self._batch():
            try:
                self._write(batch)
            except Exception as error:  # of the file, the disk, the folder: serving goes on
                self.num_dropped += len(batch)
                self._give_up(error)

    def _batch(self) -> list[Example]:
        batch: list[Example] = []
        while len(batch) < MOST_AT_ONCE and not self._waiting.empty():
            batch.append(self._waiting.get_nowait())
        return batch

    def _write(self, batch: list[Example]) -> None:
        now = self._clock()
        if self._store is None:
            if now < self._retry_at:
                self.num_dropped += len(batch)
                return
            self._store = self._open(now)
        num_stored = self._store.add(batch, now=now)
        self.num_stored += num_stored
        self.num_dropped += len(batch) - num_stored

    def _open(self, now: float) -> Store:
        return Store.open(
            self._folder, now=now, unit=self._unit, limits=self._limits, keep_text=self._keep_text
        )

    def _give_up(self, error: Exception) -> None:
        """Close the file and try again later; at once, and with a new one, if it is damaged."""
        now = self._clock()
        if self._store is not None:
            self._store.close()
            self._store = None
        if isinstance(error, sqlite3.Error) and is_damage(error):
            set_aside(self._folder / FILE_NAME, now, str(error))
            return
        self._retry_at = float("inf") if isinstance(error, ConfigurationError) else now + RETRY_S
        logger.warning("examples cannot be kept in %s: %s", self._folder, error)
