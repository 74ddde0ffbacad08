"""
Tokens per second of one server over another's, whole engine, real HTTP.

    python tests/benchmarks/throughput.py [--concurrency 64] [--layers 12] [--starts 6]
    python tests/benchmarks/throughput.py --prompt-words 1500 --output-tokens 10 100 [...]
    python tests/benchmarks/throughput.py --own-words 1300 --prompt-words 200 [...]
    python tests/benchmarks/throughput.py --shared-words 1500 [...]
    python tests/benchmarks/throughput.py --of predictor|nothing [...]

Justitia over stock vLLM; or Justitia that predicts, follows, revises and trains over one with
`--predictor off`; or stock vLLM over stock vLLM, which shows what the measurement is worth.

Both servers are up, each with so many calls in flight all the time, and their engines take turns on
one core: while one runs, for a tenth of a second, the other is stopped (SIGSTOP). So both are in
the steady state, and a host whose speed drifts, as shared ones do (by 8 % from one second to the
next), slows both alike. Speed is tokens of completed calls over the time that the engine had its
turn, by blocks of ten seconds. A pair of processes keeps what it was dealt at its start (where its
memory lies, how its sets are hashed), which moves the ratio by more than a per cent: so the pair is
started several times, in turns of who starts first. Intervals are of Student's t, at 95 %: of each
start over its blocks, of all over the starts (of log-ratios). Beside it the engines' CPU time a
token. The same calls go to both: each names its application, eight calls each, of which the first
tells its input and the last that it is the last; output lengths vary, so that calls do not end in
step, and no two prompts begin alike, so that all are computed, but for `--shared-words` that all
have in common, and `--own-words` that those of one application have. Clients and API processes have
the other core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import psutil
from scipy.stats import t

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.server import LiveServer
from support.traffic import MODEL, forced, hints_header, prompt_of

CALLS_PER_APPLICATION = 8
INPUT = "Summarise what the people said of the river and the towns along it. " * 8
TURN_S = 0.1
BLOCK_S = 10.0
WARM_UP_S = 10.0
NAMES = ("with", "without")
# What is measured, and what it is measured against: how to start each.
SERVERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "scheduler": ((), ("--stock",)),
    "predictor": (("--predictor", "{folder}"), ("--predictor", "off")),
    "nothing": (("--stock",), ("--stock",)),  # what the measurement itself makes of equals
}


@dataclass
class Side:
    """One server, its calls, and what it has done since it was last looked at."""

    server: LiveServer
    engine: psutil.Process
    num_tokens: int = 0
    turn_s: float = 0.0
    cpu_s_before: float = 0.0
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    has_answered: asyncio.Event = field(default_factory=asyncio.Event)  # at least once

    def look(self) -> tuple[float, float]:
        """Return tokens a second of its turns, and CPU microseconds a token; begin anew."""
        times = self.engine.cpu_times()
        cpu_s = times.user + times.system
        speed = self.num_tokens / self.turn_s if self.turn_s else math.nan
        cpu_us = (cpu_s - self.cpu_s_before) / max(self.num_tokens, 1) * 1e6
        self.num_tokens, self.turn_s, self.cpu_s_before = 0, 0.0, cpu_s
        return speed, cpu_us


def main() -> None:
    """Measure start by start and print the ratio."""
    options = _options()
    speeds, cpus = [], []
    for start in range(options.starts):
        of_blocks, cpu_of_blocks = _one_start(options, is_with_first=bool(start % 2))
        speeds.append(statistics.mean(of_blocks))
        cpus.append(statistics.mean(cpu_of_blocks))
        print(
            f"start {start + 1:>2}: tokens/s {_interval(of_blocks)}, "
            f"engine CPU a token {_interval(cpu_of_blocks)}",
            flush=True,
        )
    if options.starts > 1:
        print(
            f"{options.of}, {options.concurrency} concurrent calls of "
            f"{options.shared_words}+{options.own_words}+{options.prompt_words} words and "
            f"{'-'.join(map(str, options.output_tokens))} tokens, {options.starts} starts of "
            f"{options.minutes:g} min: tokens/s {_interval(speeds)}, "
            f"engine CPU a token {_interval(cpus)}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", choices=list(SERVERS), default="scheduler", help="what is measured")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--prompt-words", type=int, default=40, help="of a call, about its tokens")
    parser.add_argument("--shared-words", type=int, default=0, help="with which all prompts begin")
    parser.add_argument("--own-words", type=int, default=0, help="then, those of one application")
    parser.add_argument(
        "--output-tokens",
        type=int,
        nargs=2,
        default=(64, 192),
        metavar=("FROM", "TO"),
        help="of a call",
    )
    parser.add_argument("--layers", type=int, help="of the toy model, for longer steps (it has 2)")
    parser.add_argument("--starts", type=int, default=6, help="pairs of server processes")
    parser.add_argument("--minutes", type=float, default=2.0, help="measured at each start")
    return parser.parse_args()


def _one_start(
    options: argparse.Namespace, *, is_with_first: bool
) -> tuple[list[float], list[float]]:
    """Start a pair of servers; return log-ratios of speed and of CPU time, block by block."""
    kinds = zip(NAMES, SERVERS[options.of], strict=True)
    deeper = _deeper(options.layers) if options.layers else ()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = {
            name: LiveServer(*(word.format(folder=folder) for word in words), *deeper)
            for name, words in sorted(kinds, reverse=not is_with_first)
        }
        for server in servers.values():
            server.start()
            stack.callback(server.stop)
        for server in servers.values():
            server.wait_until_ready()
        sides = {name: Side(server, _pin(server)) for name, server in servers.items()}
        return asyncio.run(_measure(sides, options))


def _deeper(num_layers: int) -> tuple[str, ...]:
    """Return the options that give the toy model so many layers, of other random weights."""
    overrides = json.dumps({"num_hidden_layers": num_layers})
    return ("--hf-overrides", overrides, "--load-format", "dummy")


async def _measure(
    sides: dict[str, Side], options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    speeds: list[float] = []
    cpus: list[float] = []
    clients = [
        openai.AsyncOpenAI(base_url=side.server.api_url, api_key="none", timeout=120, max_retries=0)
        for side in sides.values()
    ]
    with _turns(list(sides.values())):
        workers = [
            asyncio.create_task(_work(side, client, worker, options))
            for side, client in zip(sides.values(), clients, strict=True)
            for worker in range(options.concurrency)
        ]
        await asyncio.sleep(WARM_UP_S)
        for side in sides.values():
            await side.has_answered.wait()  # long prompts on a slow host take longer
        _look(sides)
        for _ in range(round(options.minutes * 60 / BLOCK_S)):
            await asyncio.sleep(BLOCK_S)
            speed, cpu = _look(sides)
            speeds.append(speed)
            cpus.append(cpu)
            for worker in workers:
                if worker.done():
                    worker.result()  # why it stopped
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    for client in clients:
        await client.close()
    return speeds, cpus


@contextlib.contextmanager
def _turns(sides: list[Side]) -> Any:
    """Let the engines take turns meanwhile; both run afterwards."""
    is_over = threading.Event()

    def alternate() -> None:
        for number in itertools.count():
            # Who is first of two changes: what drifts evenly favours nobody.
            side, other = sides if (number + 1) // 2 % 2 else sides[::-1]
            other.engine.send_signal(signal.SIGSTOP)
            began = time.perf_counter()
            side.engine.send_signal(signal.SIGCONT)
            is_over.wait(TURN_S)
            side.engine.send_signal(signal.SIGSTOP)
            side.turn_s += time.perf_counter() - began
            if is_over.is_set():
                break
        for each in sides:
            each.engine.send_signal(signal.SIGCONT)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _look(sides: dict[str, Side]) -> tuple[float, float]:
    """Return the log-ratios of speed and CPU time since it was last looked."""
    (speed, cpu), (base_speed, base_cpu) = (sides[name].look() for name in NAMES)
    return math.log(speed / base_speed), math.log(cpu / base_cpu)


def _pin(server: LiveServer) -> psutil.Process:
    """Give the engine the last core, all else the first; return the engine's process."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    engine = next(each for each in server.family() if "EngineCore" in each.name())
    for process in server.family():
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {last if process == engine else first})
    return engine


async def _work(
    side: Side, client: openai.AsyncOpenAI, worker: int, options: argparse.Namespace
) -> None:
    """Call one call after another; the same for either server."""
    draw = random.Random(worker)
    while True:
        number, num_tokens = next(side.numbers), draw.randint(*options.output_tokens)
        await client.chat.completions.create(
            model=MODEL,
            messages=_prompt(number, options),
            extra_headers=_hints(number),
            **forced(num_tokens),
        )
        side.num_tokens += num_tokens
        side.has_answered.set()


def _prompt(number: int, options: argparse.Namespace) -> list[dict[str, str]]:
    """Return call *number*'s prompt, which goes its own way after what all have in common."""
    shared = "of the towns " * (options.shared_words // 3)
    own = "along the river " * (options.own_words // 3)
    app = f"{number // CALLS_PER_APPLICATION} {own}" if own else ""
    system = {"role": "system", "content": f"{shared}{app}{number}"}
    return [system, *prompt_of(options.prompt_words)]


def _hints(number: int) -> dict[str, str]:
    """Return the header of call *number*: an application tells its input first, its end last."""
    app, place = divmod(number, CALLS_PER_APPLICATION)
    told: dict[str, Any] = {"input": INPUT} if not place else {}
    is_last = place == CALLS_PER_APPLICATION - 1
    return hints_header(f"bench-{app}", type="bench", last=is_last, **told)


def _interval(logs: list[float]) -> str:
    """Return the mean ratio and its 95 % interval, in words."""
    mean = statistics.mean(logs)
    half = float(t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.4f} ({math.exp(mean - half):.4f} to {math.exp(mean + half):.4f})"


if __name__ == "__main__":
    main()
