"""
Tokens per second of one server over another's, whole engine, real HTTP.

    python tests/benchmarks/throughput.py [--concurrency 64] [--starts 10] [--pairs 20]
    python tests/benchmarks/throughput.py --of predictor|nothing [...]

Justitia over stock vLLM; or Justitia that predicts, follows, revises and trains over one with
`--predictor off`; or stock vLLM over stock vLLM, which shows what the measurement is worth.

Both servers are up at the same time (the idle one waits). A run keeps so many calls in flight for a
second or less; runs alternate, and so does who goes first in a pair, so that a host whose speed
drifts, as shared ones do, slows both. A pair of server processes keeps what it was dealt at its
start (where its memory lies, how its sets are hashed), which moves the ratio by a per cent or two:
so the pair is started many times, in turns of who starts first, and the 95 % interval is that of
Student's t over the starts (over log-ratios). Beside it the engines' CPU time. The same calls go to
both: each names its application, eight calls each, of which the first tells its input and the last
that it is the last. Engines are pinned to one core and everything else to the other, so that
clients do not compete with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openai
import psutil
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

OUTPUT_TOKENS = 128
CALLS_PER_APPLICATION = 8
INPUT = "Summarise what the people said of the river and the towns along it. " * 8
_numbers = itertools.count()
# What is measured, and what it is measured against: how to start each.
SERVERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "scheduler": ((), ("--stock",)),
    "predictor": (("--predictor", "{folder}"), ("--predictor", "off")),
    "nothing": (("--stock",), ("--stock",)),  # what the measurement itself makes of equals
}


def main() -> None:
    """Measure start by start and print the ratio."""
    options = _options()
    logs, cpu_logs = [], []
    for start in range(options.starts):
        speeds, cpu_s = _one_start(options, is_with_first=bool(start % 2))
        ratios = _log_ratios(speeds["with"], speeds["without"])
        logs.append(statistics.mean(ratios))
        within = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
        cpu_logs.append(math.log(cpu_s["with"] / cpu_s["without"]))
        medians = (statistics.median(speeds[name]) for name in ("with", "without"))
        print(
            f"start {start + 1:>2}: tokens/s {math.exp(logs[-1]):.4f} ± {within:.4f} "
            "({:.0f} to {:.0f})".format(*medians)
            + f", engine CPU {math.exp(cpu_logs[-1]):.4f}",
            flush=True,
        )
    about = (
        f"{options.of}, {options.concurrency} concurrent calls, "
        f"{options.starts} starts of {options.pairs} pairs"
    )
    print(f"{about}: tokens/s {_interval(logs)}, engine CPU {_interval(cpu_logs)}")


def _one_start(
    options: argparse.Namespace, *, is_with_first: bool
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Start a pair of servers and return the speeds of their runs and the engines' CPU seconds."""
    kinds = zip(("with", "without"), SERVERS[options.of], strict=True)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = {
            name: LiveServer(*(word.format(folder=folder) for word in words))
            for name, words in sorted(kinds, reverse=not is_with_first)
        }
        for server in servers.values():
            server.start()
            stack.callback(server.stop)
        for server in servers.values():
            server.wait_until_ready()
        return asyncio.run(_measure(servers, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", choices=list(SERVERS), default="scheduler", help="what is measured")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--starts", type=int, default=10, help="pairs of server processes")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of runs a start")
    parser.add_argument("--calls", type=int, default=2, help="calls a worker in a run")
    return parser.parse_args()


async def _measure(
    servers: dict[str, LiveServer], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, float]]:
    clients = {}
    for name, server in servers.items():
        _pin(server)
        clients[name] = openai.AsyncOpenAI(base_url=server.api_url, api_key="none", timeout=120)
        for _ in range(3):
            await _run(clients[name], options)
    before = {name: _cpu_s(server) for name, server in servers.items()}
    speeds: dict[str, list[float]] = {name: [] for name in servers}
    for pair in range(options.pairs):
        for name in sorted(servers, reverse=bool(pair % 2)):
            speeds[name].append(await _run(clients[name], options))
    for client in clients.values():
        await client.close()
    return speeds, {name: _cpu_s(server) - before[name] for name, server in servers.items()}


def _pin(server: LiveServer) -> None:
    """Give the engine the last core; this process and the API process share the first."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    for process in server.family():
        is_engine = "EngineCore" in process.name()
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {last if is_engine else first})


def _cpu_s(server: LiveServer) -> float:
    """Return the CPU seconds of the engine so far; of all processes where it is in one of them."""
    spent = {True: 0.0, False: 0.0}
    for process in server.family():
        with contextlib.suppress(psutil.NoSuchProcess):  # training comes and goes
            times = process.cpu_times()
            spent["EngineCore" in process.name()] += times.user + times.system
    return spent[True] or spent[False]


async def _run(client: openai.AsyncOpenAI, options: argparse.Namespace) -> float:
    """Keep *concurrency* calls in flight until all are done; return tokens per second."""

    async def work() -> None:
        for _ in range(options.calls):
            await client.chat.completions.create(
                model=MODEL,
                messages=prompt_of(40),
                extra_headers=_hints(next(_numbers)),
                **forced(OUTPUT_TOKENS),
            )

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(options.concurrency)))
    return options.concurrency * options.calls * OUTPUT_TOKENS / (time.perf_counter() - start)


def _hints(number: int) -> dict[str, str]:
    """Return the header of call *number*: an application tells its input first, its end last."""
    app, place = divmod(number, CALLS_PER_APPLICATION)
    told: dict[str, Any] = {"input": INPUT} if not place else {}
    is_last = place == CALLS_PER_APPLICATION - 1
    return hints_header(f"bench-{app}", type="bench", last=is_last, **told)


def _log_ratios(ours: list[float], others: list[float]) -> list[float]:
    return [math.log(our / other) for our, other in zip(ours, others, strict=True)]


def _interval(logs: list[float]) -> str:
    """Return the mean ratio and its 95 % interval, in words."""
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.4f} (one start: no interval)"
    spread = statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(t.ppf(0.975, len(logs) - 1)) * spread
    return f"{math.exp(mean):.4f} ({math.exp(mean - half):.4f} to {math.exp(mean + half):.4f})"


if __name__ == "__main__":
    main()
