"""What the demo shows while it runs: applications by kind and state, and the server's memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from justitia_server.demo.client import Event
from justitia_server.serve.watch import Sample

_STATES = ("to come", "waiting", "running", "done", "failed")
_PLAIN_INTERVAL_S = 5.0


class Progress:
    """
    The state of every application, told by the client's events.

    An application is *waiting* until its first call has been answered and *running* from then on.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._kind_of: dict[str, str] = {}
        self._state_of: dict[str, str] = {}
        self._began_at = time.monotonic()
        self.sample: Callable[[], Sample | None] = lambda: None

    def note(self, event: Event) -> None:
        """Take in one event of the client."""
        name = event["event"]
        if name == "planned":
            self._kind_of = {item["app_id"]: item["kind"] for item in event["applications"]}
            self._state_of = dict.fromkeys(self._kind_of, "to come")
            self._began_at = time.monotonic()
        elif name == "arrived":
            self._state_of[event["app_id"]] = "waiting"
        elif name == "replied":
            self._state_of[event["app_id"]] = "running"
        elif name == "finished":
            self._state_of[event["app_id"]] = "done" if event["ok"] else "failed"

    def counts(self, kind: str | None = None) -> Counter[str]:
        """Return how many applications of *kind*, or of all, are in each state."""
        return Counter(
            state
            for app_id, state in self._state_of.items()
            if kind is None or self._kind_of[app_id] == kind
        )

    def line(self) -> str:
        """Return the whole state in one line."""
        if not self._kind_of:
            return f"{self._title}: starting the server ({self._elapsed_s:.0f} s)"
        states = ", ".join(f"{count} {state}" for state, count in self._in_order(self.counts()))
        return f"{self._title}: {self._elapsed_s:4.0f} s   {states}{self._memory()}"

    def __rich__(self) -> RenderableType:
        """Return the state as a table, for a terminal."""
        if not self._kind_of:
            return Text(self.line())
        table = Table("kind", *_STATES, title_justify="left", pad_edge=False, box=None)
        for kind in sorted(set(self._kind_of.values())):
            counts = self.counts(kind)
            cells = (str(counts[state]) if counts[state] else "·" for state in _STATES)
            table.add_row(kind, *cells)
        return Group(Text(self.line(), style="bold"), table)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_at

    def _in_order(self, counts: Counter[str]) -> list[tuple[str, int]]:
        return [(state, counts[state]) for state in _STATES if counts[state]]

    def _memory(self) -> str:
        sample = self.sample()
        if sample is None:
            return ""
        calls = f"{sample.calls_running} calls running, {sample.calls_waiting} waiting"
        return f"   |   KV memory {sample.kv_ratio:.0%}, {calls}"


@contextmanager
def shown(progress: Progress, console: Console) -> Iterator[Callable[[], None]]:
    """
    Show *progress* during the block; give a function to call when something may have changed.

    A table that moves on a terminal, a line every few seconds elsewhere.
    """
    if console.is_terminal:
        with Live(progress, console=console, refresh_per_second=4, transient=True):
            yield lambda: None
        return
    next_at = 0.0

    def maybe_print() -> None:
        nonlocal next_at
        if time.monotonic() >= next_at:
            console.print(progress.line(), highlight=False, soft_wrap=True)
            next_at = time.monotonic() + _PLAIN_INTERVAL_S

    yield maybe_print
