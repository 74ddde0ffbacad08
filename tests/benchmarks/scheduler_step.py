"""
CPU time the scheduler takes per engine step, ours beside vLLM's own; no model runs.

    python tests/benchmarks/scheduler_step.py [--running 256] [--waiting 2000] [--rounds 30]
        [--starts 3] [--tenants 1] [--prefix-caching] [--overlap] [--policies justitia vtc ...]

Both over the same base class of vLLM's: the asynchronous one with --overlap, as on a GPU, else the
plain one, as on a CPU. Fills the batch, lets the rest wait, and times pure decode steps (schedule
and update) with `time.process_time`. Each scheduler has a process of its own, as in a server: in
one process they would share the interpreter's inline caches and the garbage collector. They take
turns, a turn being as many steps as the meter leaves unread at most, so that one whole reading is
in each; what is compared is a turn with vLLM's in the same round. What a process is dealt at its
start stays with it, so they are started several times, and the median of each start is shown.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import statistics
import time
from multiprocessing.connection import Connection

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.meter import MOST_STEPS_UNREAD
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost

NUM_STEPS = MOST_STEPS_UNREAD
STOCK = "vllm "  # before the name of a policy of vLLM's
BASE = STOCK + "priority"
CALLS_PER_APPLICATION = 5
NUM_PROMPT_TOKENS = 17
NUM_OUTPUT_TOKENS = 4000


def main() -> None:
    """Time every scheduler and print a table."""
    options = _options()
    names = [BASE, STOCK + "fcfs", *options.policies]
    starts = [_one_start(names, options) for _ in range(options.starts)]
    print(
        f"{options.running} running, {options.waiting} waiting, "
        f"{options.starts} starts of {options.rounds} rounds"
    )
    print(f"{'scheduler':<16}{'us a step':>11}{'more':>9}   at each start")
    for name in names:
        whole = statistics.mean(statistics.median(turns[name]) for turns in starts)
        more = [_median_more(turns[name], turns[BASE]) for turns in starts]
        each = " ".join(f"{value:+.0f}" for value in more)
        print(f"{name:<16}{whole:>11.1f}{statistics.mean(more):>+9.1f}   {each}")


def _one_start(names: list[str], options: argparse.Namespace) -> dict[str, list[float]]:
    """Start a process for each, give them turns in random order; microseconds a step, by turn."""
    spawn = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    processes = []
    for name in names:
        ends[name], other = spawn.Pipe()
        process = spawn.Process(target=_take_turns, args=(name, options, other), daemon=True)
        process.start()
        processes.append(process)
    for end in ends.values():
        end.recv()  # it is ready
    turns: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in random.sample(names, len(names)):
            ends[name].send(True)
            turns[name].append(ends[name].recv())
    for end, process in zip(ends.values(), processes, strict=True):
        end.send(False)
        process.join()
    return turns


def _take_turns(name: str, options: argparse.Namespace, end: Connection) -> None:
    """Build a scheduler, and time a turn whenever told to."""
    if name.startswith(STOCK):
        engine = _stock(name.removeprefix(STOCK), options)
    else:
        engine = _ours(name, options)
    gc.collect()
    gc.freeze()  # as the engine does with what it has at its start
    end.send(True)
    while end.recv():
        end.send(_step_us(engine))


def _median_more(ours: list[float], base: list[float]) -> float:
    return statistics.median(our - other for our, other in zip(ours, base, strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--running", type=int, default=256)
    parser.add_argument("--waiting", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--tenants", type=int, default=1)
    parser.add_argument("--prefix-caching", action="store_true")
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--policies", nargs="+", default=["justitia"])
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
    cost = CALLS_PER_APPLICATION * call_cost(NUM_PROMPT_TOKENS, NUM_OUTPUT_TOKENS)
    for index in range(options.running + options.waiting):
        app = index // CALLS_PER_APPLICATION
        tenant = f"tenant{app % options.tenants}"
        facts = ApplicationFacts(f"app{app}", tenant=tenant, predicted_cost=cost + index)
        extra_args = {EXTRA_ARGS_KEY: pack(facts, CallFacts())}
        prompt = [app % 100] * NUM_PROMPT_TOKENS  # the calls of an application share a block
        engine.add(
            f"r{index}",
            prompt=prompt,
            num_output_tokens=NUM_OUTPUT_TOKENS,
            extra_args=extra_args,
        )
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
