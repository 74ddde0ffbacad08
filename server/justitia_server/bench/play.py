"""
Playing a workload: every call at its time, whatever the others do.

Open loop: an application begins when it is due, not when the server has room. A call is due when
the last of those it waits for has ended, and its delay later; all instants are those of one clock,
in seconds after the workload's beginning. *Slip* is by how much a call went out later than it was
due: it is the client's fault, not the server's. An application ends with the last of its calls, or
when one of them fails: the others are then given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from justitia_sdk.errors import JustitiaError

from ..simulation.workload import Arriving, Call


class CallFailed(JustitiaError):
    """A call was refused, got no reply, or got another one than was asked for."""


class Clock(Protocol):
    """The time of a run, in seconds after the workload's beginning."""

    def now(self) -> float:
        """Return the present instant."""

    async def sleep_until(self, at_s: float) -> None:
        """Return at *at_s*, at once if that is past."""


class Caller(Protocol):
    """Makes the calls of one application."""

    async def call(self, call: Call) -> float:
        """
        Make *call*, wait for its whole reply, and return when it went out.

        Raises:
            CallFailed: The message says which call, and why.
        """


Open = Callable[[Arriving], AbstractAsyncContextManager[Caller]]


@dataclass(frozen=True, slots=True)
class Played:
    """
    What became of one application.

    Attributes:
        application: The application.
        arrival_s: When it was due.
        finish_s: When the last of its calls ended, or the first that failed.
        failure: Why it failed, or None.
    """

    application: Arriving
    arrival_s: float
    finish_s: float
    failure: str | None = None


@dataclass(slots=True)
class Tally:
    """
    How far a run has come.

    Attributes:
        num_applications: To play.
        num_ended: Ended, those that failed included.
        num_failed: Failed.
        num_open: Calls that have gone out and not ended.
        slips_s: Of every call that was answered.
        max_slip_s: The largest of them.
        busy_s: Seconds in which a call was open.
    """

    num_applications: int
    num_ended: int = 0
    num_failed: int = 0
    num_open: int = 0
    slips_s: list[float] = field(default_factory=list)
    max_slip_s: float = 0.0
    busy_s: float = 0.0
    _busy_since: float = 0.0

    def begin_call(self, now: float) -> None:
        """Take notice that a call goes out."""
        if not self.num_open:
            self._busy_since = now
        self.num_open += 1

    def end_call(self, now: float) -> None:
        """Take notice that it has ended, one way or another."""
        self.num_open -= 1
        if not self.num_open:
            self.busy_s += now - self._busy_since

    def note_slip(self, slip_s: float) -> None:
        """Take notice of how late a call went out."""
        self.slips_s.append(slip_s)
        self.max_slip_s = max(self.max_slip_s, slip_s)

    def end_application(self, *, failed: bool) -> None:
        """Take notice that an application has ended."""
        self.num_ended += 1
        self.num_failed += failed


class Player:
    """Plays one workload."""

    def __init__(
        self, open_application: Open, clock: Clock, tally: Tally, *, speed: float = 1.0
    ) -> None:
        """
        Prepare.

        Args:
            open_application: Opens an application for the time in which it makes its calls.
            clock: The time.
            tally: Told of everything that happens.
            speed: Divides all arrivals and delays.
        """
        self._open = open_application
        self._clock = clock
        self._tally = tally
        self._speed = speed

    async def play(self, workload: Sequence[Arriving]) -> list[Played]:
        """Play *workload* to its end; return what became of everyone, in its order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._application(each)) for each in workload]
        return [task.result() for task in tasks]

    async def _application(self, application: Arriving) -> Played:
        arrival_s = application.arrival_s / self._speed
        await self._clock.sleep_until(arrival_s)
        failure = None
        async with self._open(application) as caller:
            try:
                finish_s = await self._calls(application, caller, arrival_s)
            except* CallFailed as failed:
                failure, finish_s = _first_words(failed), self._clock.now()
            self._tally.end_application(failed=failure is not None)
        return Played(application, arrival_s, finish_s, failure)

    async def _calls(self, application: Arriving, caller: Caller, arrival_s: float) -> float:
        """Make all calls; return when the last ended."""
        tasks: list[asyncio.Task[float]] = []
        async with asyncio.TaskGroup() as group:
            for call in application.calls:
                before = [tasks[place] for place in call.after]
                tasks.append(group.create_task(self._call(call, caller, before, arrival_s)))
        return max(task.result() for task in tasks)

    async def _call(
        self, call: Call, caller: Caller, before: Sequence[asyncio.Task[float]], arrival_s: float
    ) -> float:
        """Make *call* when it is due; return when it ended."""
        ended = [await task for task in before]
        due_s = max(ended, default=arrival_s) + call.delay_s / self._speed
        await self._clock.sleep_until(due_s)
        self._tally.begin_call(self._clock.now())
        try:
            sent_s = await caller.call(call)
        finally:
            ended_s = self._clock.now()
            self._tally.end_call(ended_s)
        self._tally.note_slip(sent_s - due_s)
        return ended_s


def _first_words(failed: BaseExceptionGroup[CallFailed]) -> str:
    """Return what the first failure says; groups may be nested."""
    first = failed.exceptions[0]
    return _first_words(first) if isinstance(first, BaseExceptionGroup) else str(first)
