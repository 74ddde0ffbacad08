"""
Tokens per second under Justitia over stock vLLM's, whole engine, real HTTP.

    python tests/benchmarks/throughput.py [--concurrency 64] [--pairs 12]

Both servers are up all the time (the idle one waits); runs alternate, and so does who goes first
in a pair. Prints every pair, the mean ratio, and its 95 % interval (t, over log-ratios). The same
calls go to both: each names its application, eight calls each. Engines are pinned to one core and
everything else to the other, so that clients do not compete with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
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
_T_975 = {11: 2.201, 19: 2.093, 29: 2.045, 39: 2.023, 59: 2.001}


def main() -> None:
    """Measure pair by pair and print the ratio."""
    options = _options()
    with LiveServer("--stock") as stock, LiveServer() as ours:
        servers = {"stock": stock.api_url, "justitia": ours.api_url}
        for server in (stock, ours):
            _pin(server)
        for base_url in servers.values():
            asyncio.run(_run(base_url, options.concurrency, 2 * options.concurrency))
        ratios = []
        for pair in range(options.pairs):
            order = ("stock", "justitia") if pair % 2 == 0 else ("justitia", "stock")
            speed = {name: _speed(servers[name], options) for name in order}
            ratios.append(speed["justitia"] / speed["stock"])
            print(
                f"pair {pair + 1:>2}: stock {speed['stock']:7.0f} tokens/s, "
                f"justitia {speed['justitia']:7.0f} tokens/s, ratio {ratios[-1]:.4f}",
                flush=True,
            )
    _print_interval(ratios, options.concurrency)


def _pin(server: LiveServer) -> None:
    """Give the engine the last core; this process and the API process share the first."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    for process in server.family():
        is_engine = "EngineCore" in process.name()
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {last if is_engine else first})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=12, choices=[n + 1 for n in _T_975])
    parser.add_argument("--calls", type=int, default=10, help="calls a worker")
    return parser.parse_args()


def _speed(base_url: str, options: argparse.Namespace) -> float:
    num_calls = options.calls * options.concurrency
    start = time.perf_counter()
    asyncio.run(_run(base_url, options.concurrency, num_calls))
    return num_calls * OUTPUT_TOKENS / (time.perf_counter() - start)


async def _run(base_url: str, concurrency: int, num_calls: int) -> None:
    """Keep *concurrency* calls in flight until *num_calls* are done."""
    numbers = iter(range(num_calls))
    tag = time.monotonic_ns()

    async def work(client: openai.AsyncOpenAI) -> None:
        for number in numbers:
            await client.chat.completions.create(
                model=MODEL,
                messages=prompt_of(40),
                extra_headers=hints_header(f"{tag}-{number // CALLS_PER_APPLICATION}", type="b"),
                **forced(OUTPUT_TOKENS),
            )

    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", timeout=120) as client:
        await asyncio.gather(*(work(client) for _ in range(concurrency)))


def _print_interval(ratios: list[float], concurrency: int) -> None:
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.mean(logs)
    half = _T_975[len(logs) - 1] * statistics.stdev(logs) / math.sqrt(len(logs))
    low, middle, high = (math.exp(value) for value in (mean - half, mean, mean + half))
    print(
        f"{concurrency} concurrent calls, {len(ratios)} pairs: ratio {middle:.4f}, "
        f"95 % interval {low:.4f} to {high:.4f}"
    )


if __name__ == "__main__":
    main()
