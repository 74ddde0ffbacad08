"""
CPU time a call costs the scheduler from its arrival to its end, ours beside vLLM's own; no model.

    python tests/benchmarks/call_overhead.py [--concurrency 64] [--calls 2000] [--rounds 5]

Keeps so many calls of 128 tokens in flight; each ended call is followed by a new one, eight calls
an application. Prints the CPU time of all scheduling over the number of calls, and ours more.
"""

from __future__ import annotations

import argparse
import statistics
import time

from vllm.v1.core.sched.scheduler import Scheduler

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts

OUTPUT_TOKENS = 128
CALLS_PER_APPLICATION = 8


def main() -> None:
    """Time both and print the difference."""
    options = _options()
    shape = OfflineOptions(
        num_blocks=options.concurrency * 16,
        max_num_seqs=options.concurrency,
        max_model_len=2048,
        prefix_caching=options.prefix_caching,
    )
    engines = {
        "vllm fcfs": OfflineEngine(shape, scheduler_class=Scheduler, scheduling_policy="fcfs"),
        "justitia": OfflineEngine(shape, Settings(policy=options.policy)),
    }
    rounds: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(options.rounds):
        for name, engine in engines.items():
            rounds[name].append(_run(engine, f"{name}-{number}", options))
    base = statistics.median(rounds["vllm fcfs"])
    for name, values in rounds.items():
        middle = statistics.median(values)
        print(
            f"{name:<12} {middle:8.1f} us a call ({min(values):.1f} to {max(values):.1f})"
            f"  {middle - base:+7.1f}  {middle / base:.4f}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--policy", default="justitia")
    parser.add_argument("--prefix-caching", action="store_true")
    return parser.parse_args()


def _run(engine: OfflineEngine, prefix: str, options: argparse.Namespace) -> float:
    """Serve all calls; return CPU microseconds a call."""
    num_added = num_ended = 0
    start = time.process_time()
    while num_ended < options.calls:
        while num_added < options.calls and num_added - num_ended < options.concurrency:
            _add(engine, prefix, num_added)
            num_added += 1
        step = engine.step()
        num_ended += len(step.finished) if step else 0
    return (time.process_time() - start) / options.calls * 1e6


def _add(engine: OfflineEngine, prefix: str, number: int) -> None:
    app = f"{prefix}-{number // CALLS_PER_APPLICATION}"
    facts = pack(ApplicationFacts(app, predicted_cost=120_000.0), CallFacts())
    engine.add(
        f"{prefix}-call-{number}",
        prompt=[number % 100, number // 100 % 100, *[1] * 38],
        num_output_tokens=OUTPUT_TOKENS - number % 7,
        extra_args={EXTRA_ARGS_KEY: facts},
    )


if __name__ == "__main__":
    main()
