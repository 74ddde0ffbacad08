"""
CPU time the scheduler takes per engine step, ours beside vLLM's own; no model runs.

    python tests/benchmarks/scheduler_step.py [--running 256] [--waiting 2000] [--rounds 7]
        [--tenants 1] [--prefix-caching] [--overlap] [--policies justitia fcfs vtc ...]

Both over the same base class of vLLM's: the asynchronous one with --overlap, as on a GPU, else the
plain one, as on a CPU. Fills the batch, lets the rest wait, and times pure decode steps (schedule
and update) with `time.process_time`, schedulers interleaved by rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts

NUM_STEPS = 200


def main() -> None:
    """Time every scheduler and print a table."""
    options = _options()
    engines = {
        "vllm fcfs": _stock("fcfs", options),
        "vllm priority": _stock("priority", options),
        **{name: _ours(name, options) for name in options.policies},
    }
    rounds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(options.rounds):
        for name, engine in engines.items():
            rounds[name].append(_step_us(engine))
    base = statistics.median(rounds["vllm priority"])
    print(f"{options.running} running, {options.waiting} waiting, {options.rounds} rounds")
    print(f"{'scheduler':<16}{'us a step':>11}{'min':>9}{'max':>9}{'more':>9}")
    for name, values in rounds.items():
        middle = statistics.median(values)
        print(
            f"{name:<16}{middle:>11.1f}{min(values):>9.1f}{max(values):>9.1f}{middle - base:>+9.1f}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--running", type=int, default=256)
    parser.add_argument("--waiting", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tenants", type=int, default=1)
    parser.add_argument("--prefix-caching", action="store_true")
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--policies", nargs="+", default=["fcfs", "justitia"])
    return parser.parse_args()


def _engine_options(options: argparse.Namespace) -> OfflineOptions:
    return OfflineOptions(
        num_blocks=options.running * 300,
        max_num_seqs=options.running,
        max_model_len=8192,
        prefix_caching=options.prefix_caching,
        overlap=options.overlap,
    )


def _stock(policy: str, options: argparse.Namespace) -> OfflineEngine:
    engine = OfflineEngine(
        _engine_options(options),
        scheduler_class=AsyncScheduler if options.overlap else Scheduler,
        scheduling_policy=policy,
    )
    return _filled(engine, options)


def _ours(policy: str, options: argparse.Namespace) -> OfflineEngine:
    return _filled(OfflineEngine(_engine_options(options), Settings(policy=policy)), options)


def _filled(engine: OfflineEngine, options: argparse.Namespace) -> OfflineEngine:
    """Queue five calls an application, and step until the batch is full and decodes."""
    for index in range(options.running + options.waiting):
        tenant = f"tenant{index // 5 % options.tenants}"
        facts = ApplicationFacts(f"app{index // 5}", tenant=tenant, predicted_cost=1e6 + index)
        extra_args = {EXTRA_ARGS_KEY: pack(facts, CallFacts())}
        prompt = [index // 5 % 100] * 17  # the five calls of an application share a block
        engine.add(f"r{index}", prompt=prompt, num_output_tokens=4000, extra_args=extra_args)
    for _ in range(20):
        engine.step()
    return engine


def _step_us(engine: OfflineEngine) -> float:
    start = time.process_time()
    for _ in range(NUM_STEPS):
        engine.step()
    return (time.process_time() - start) / NUM_STEPS * 1e6


if __name__ == "__main__":
    main()
