"""What a bench shows while it runs: one line that is read off the run's tally."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .play import Tally


class TallyLine:
    """Applications ended, calls under way, and slip of one run."""

    def __init__(self, title: str, tally: Tally) -> None:
        self._title = title
        self._tally = tally

    def __rich__(self) -> Text:
        """Return the line as it is now."""
        tally = self._tally
        failed = f", {tally.num_failed} failed" if tally.num_failed else ""
        return Text(
            f"{self._title}: {tally.num_ended} of {tally.num_applications} applications done"
            f"{failed}, {tally.num_open} calls under way, slip at most "
            f"{1000 * tally.max_slip_s:.0f} ms"
        )


@contextmanager
def shown(title: str, tally: Tally, console: Console) -> Iterator[None]:
    """Show *tally* during the block, on a terminal."""
    if not console.is_terminal:
        yield
        return
    with Live(TallyLine(title, tally), console=console, refresh_per_second=4, transient=True):
        yield
