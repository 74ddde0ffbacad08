"""A simulated server with its step log and recorder on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from justitia_server.engine.recorder import Recorder
from justitia_server.engine.settings import Settings
from justitia_server.engine.step_log import StepLog
from justitia_server.simulation.server import Server

KEEP_ALL = 10**6


@dataclass(frozen=True)
class WatchedServer(Server):
    """
    As `Server`, and remembers the schedulers that it has built.

    Instants in their logs are the simulation's own, without a shift that would round them.
    """

    schedulers: list[Any] = field(default_factory=list)

    def engine(self, settings: Settings) -> Any:
        """Build an engine that logs and records."""
        made = Server.engine(self, replace(settings, step_log="unused", record="unused"))
        assert made.scheduler.step_log is not None
        assert made.scheduler.recorder is not None
        made.scheduler.step_log = StepLog(num_kept=KEEP_ALL)
        made.scheduler.recorder = Recorder()
        self.schedulers.append(made.scheduler)
        return made
