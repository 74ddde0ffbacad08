"""
Tokens per second under Justitia over stock vLLM's, whole engine, real HTTP.

    python tests/benchmarks/throughput.py [--concurrency 64] [--pairs 150]

Both servers are up all the time (the idle one waits). A run keeps so many calls in flight for a
second or less; runs alternate, and so does who goes first in a pair, so that a host whose speed
drifts, as shared ones do, slows both. Prints the ratio of each tenth of the pairs, the mean ratio,
and its 95 % interval (over log-ratios), beside it the servers' CPU time. The same calls go to both:
each names its application, eight calls each. Engines are pinned to one core and everything else to
the other, so that clients do not compete with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import os
import statistics
import sys
import time
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

OUTPUT_TOKENS = 128
CALLS_PER_APPLICATION = 8
_numbers = itertools.count()


def main() -> None:
    """Measure pair by pair and print the ratio."""
    options = _options()
    with LiveServer("--stock") as stock, LiveServer() as ours:
        asyncio.run(_measure({"stock": stock, "justitia": ours}, options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--calls", type=int, default=2, help="calls a worker in a run")
    return parser.parse_args()


async def _measure(servers: dict[str, LiveServer], options: argparse.Namespace) -> None:
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
    _print_ratios(speeds, options)
    for name, server in servers.items():
        engine, api = (
            after - start for after, start in zip(_cpu_s(server), before[name], strict=True)
        )
        print(f"{name:<9} CPU: engine {engine:6.1f} s, API process {api:6.1f} s")


def _pin(server: LiveServer) -> None:
    """Give the engine the last core; this process and the API process share the first."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    for process in server.family():
        is_engine = "EngineCore" in process.name()
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {last if is_engine else first})


def _cpu_s(server: LiveServer) -> tuple[float, float]:
    """Return the CPU seconds of the engine and of the API process so far."""
    spent = {True: 0.0, False: 0.0}
    for process in server.family():
        times = process.cpu_times()
        spent["EngineCore" in process.name()] += times.user + times.system
    return spent[True], spent[False]


async def _run(client: openai.AsyncOpenAI, options: argparse.Namespace) -> float:
    """Keep *concurrency* calls in flight until all are done; return tokens per second."""

    async def work() -> None:
        for _ in range(options.calls):
            app = f"bench-{next(_numbers) // CALLS_PER_APPLICATION}"
            await client.chat.completions.create(
                model=MODEL,
                messages=prompt_of(40),
                extra_headers=hints_header(app, type="bench"),
                **forced(OUTPUT_TOKENS),
            )

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(options.concurrency)))
    return options.concurrency * options.calls * OUTPUT_TOKENS / (time.perf_counter() - start)


def _print_ratios(speeds: dict[str, list[float]], options: argparse.Namespace) -> None:
    logs = [
        math.log(ours / stock)
        for ours, stock in zip(speeds["justitia"], speeds["stock"], strict=True)
    ]
    tenth = max(1, len(logs) // 10)
    for first in range(0, len(logs), tenth):
        part = logs[first : first + tenth]
        print(
            f"pairs {first + 1:>3} to {first + len(part):>3}: {math.exp(statistics.mean(part)):.4f}"
        )
    for name, values in speeds.items():
        print(f"{name:<9} median {statistics.median(values):7.0f} tokens/s")
    mean = statistics.mean(logs)
    half = 1.96 * statistics.stdev(logs) / math.sqrt(len(logs))
    low, middle, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    print(
        f"{options.concurrency} concurrent calls, {len(logs)} pairs: ratio {middle:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )


if __name__ == "__main__":
    main()
