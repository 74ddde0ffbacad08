"""The demo from beginning to end: both servers, the same arrivals, then the report."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from justitia_sdk.errors import JustitiaError
from justitia_server.demo.client import Event, run_client
from justitia_server.demo.picture import draw_who_ran_when
from justitia_server.demo.progress import Progress, shown
from justitia_server.demo.report import (
    Comparison,
    as_fields,
    comparison_table,
    facts_table,
    notes,
)
from justitia_server.demo.results import Run, load_applications
from justitia_server.serve.process import serving
from justitia_server.serve.watch import Watch, use_between

SERVERS = {"stock": ("--stock",), "justitia": ("--policy", "justitia")}


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """
    How large the demo is.

    Attributes:
        num_blocks: KV blocks of the server; few, so that memory is what applications wait for.
        block_size: Tokens a block.
        num_each: Applications of every kind.
    """

    num_blocks: int = 150
    block_size: int = 32
    num_each: int = 10

    @property
    def capacity_tokens(self) -> int:
        """KV tokens the server holds."""
        return self.num_blocks * self.block_size

    @property
    def server_options(self) -> tuple[str, ...]:
        """What follows `justitia serve`, the same for both servers."""
        return (
            "--toy",
            "--num-gpu-blocks-override",
            str(self.num_blocks),
            "--block-size",
            str(self.block_size),
            "--enable-per-request-metrics",
        )


def run_demo(
    *,
    orders: Sequence[str],
    seed: int,
    out: Path,
    as_json: bool,
    settings: DemoSettings | None = None,
) -> int:
    """
    Run the demo and return the exit code: 1 when a server or an application failed.

    Args:
        orders: Arrival orders to run, ``large-first`` or ``small-first``.
        seed: Draws the arrivals.
        out: Folder for pictures, results and logs; made if missing.
        as_json: Print one JSON object at the end, and everything else to stderr.
        settings: How large it is.
    """
    settings = settings or DemoSettings()
    console = _console(stderr=as_json)
    began_at = time.monotonic()
    try:
        with _terminated_like_interrupted():
            comparisons = [_compare(order, seed, out, settings, console) for order in orders]
    except KeyboardInterrupt:
        console.print("stopped; no server is left running")
        return 130
    except JustitiaError as error:
        console.print(f"justitia: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    written = out / "results.json"
    fields = {"comparisons": comparisons, "wall_s": round(time.monotonic() - began_at, 1)}
    written.write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
    console.print(f"Figures: {written.resolve()}   wall time {fields['wall_s']} s", soft_wrap=True)
    if as_json:
        print(json.dumps(fields))  # noqa: T201 - the command's result
    return 1 if any(run["failed"] for item in comparisons for run in item["runs"].values()) else 0


def _console(*, stderr: bool) -> Console:
    """Return a console that is wide enough for the tables where nobody has set a width."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=100)


def _compare(
    order: str, seed: int, out: Path, settings: DemoSettings, console: Console
) -> dict[str, Any]:
    """Run one arrival order under both servers, print what came of it, return it as JSON."""
    folder = out / order
    folder.mkdir(parents=True, exist_ok=True)
    runs = {server: _run(server, order, seed, folder, settings, console) for server in SERVERS}
    comparison = Comparison(order, seed, settings.capacity_tokens, **runs)
    picture = folder / "who-ran-when.png"
    draw_who_ran_when(comparison, picture)
    _print_report(comparison, picture, console)
    return as_fields(comparison) | {"picture": str(picture.resolve())}


def _run(
    server: str, order: str, seed: int, folder: Path, settings: DemoSettings, console: Console
) -> Run:
    """Run the arrivals once, under *server*."""
    progress = Progress(f"{'stock vLLM' if server == 'stock' else 'Justitia'}, {order}")
    out = folder / f"{server}.jsonl"
    options = (*settings.server_options, *SERVERS[server])
    with (
        shown(progress, console) as refresh,
        serving(options, log=folder / f"{server}-server.log", while_starting=refresh) as address,
        Watch(address) as watch,
    ):
        progress.sample = lambda: watch.latest
        span = _Span(watch)

        def follow(event: Event) -> None:
            progress.note(event)
            span.note(event)
            refresh()

        run_client(
            base_url=f"{address}/v1",
            order=order,
            seed=seed,
            num_each=settings.num_each,
            out=out,
            log=folder / f"{server}-client.log",
            on_event=follow,
        )
    return Run(server, load_applications(out), span.use())


class _Span:
    """Which of the watch's samples belong to the run: those from first arrival to the end."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._first = 0
        self._last = 0
        self._began_at = self._ended_at = 0.0

    def note(self, event: Event) -> None:
        if event["event"] == "planned":
            self._first = max(0, len(self._watch.samples) - 1)
            self._began_at = time.monotonic()
        elif event["event"] == "ended":
            self._last = len(self._watch.samples)
            self._ended_at = time.monotonic()

    def use(self) -> Any:
        samples = self._watch.samples[self._first : self._last + 1]
        return use_between(samples, span_s=self._ended_at - self._began_at)


def _print_report(comparison: Comparison, picture: Path, console: Console) -> None:
    console.print()
    console.print(comparison_table(comparison))
    console.print(facts_table(comparison))
    for note in notes(comparison):
        console.print(note, highlight=False)
    for run in (comparison.stock, comparison.justitia):
        for application in run.failed:
            words = f"failed under {run.server}: {application.app_id}: {application.error}"
            console.print(words, style="red", markup=False)
    console.print(f"Who ran when: {picture.resolve()}", style="bold", soft_wrap=True)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt during the block, so that nothing is left behind."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
