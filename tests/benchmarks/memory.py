"""
Memory over many finished applications: vLLM's scheduler with ours inside, no model.

    python tests/benchmarks/memory.py [--applications 100000]

Serves applications of two short calls, a hundred at a time, several tenants, and prints what the
process holds every tenth of the way: resident memory and Python objects. Both must stand still once
the fixed-size records (finished applications, samples) are full.
"""

from __future__ import annotations

import argparse
import gc

import psutil

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts

NUM_TOGETHER = 100
NUM_TENANTS = 20


def main() -> None:
    """Serve, and print a line each tenth of the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--applications", type=int, default=100_000)
    parser.add_argument("--policy", default="justitia")
    options = parser.parse_args()
    engine = OfflineEngine(
        OfflineOptions(num_blocks=400, max_model_len=256), Settings(policy=options.policy)
    )
    tenth = options.applications // 10
    for first in range(0, options.applications, NUM_TOGETHER):
        _serve(engine, first)
        if (first + NUM_TOGETHER) % tenth == 0:
            gc.collect()
            resident = psutil.Process().memory_info().rss / 2**20
            print(
                f"{first + NUM_TOGETHER:>8} applications: {resident:7.1f} MiB resident, "
                f"{len(gc.get_objects()):>8} objects",
                flush=True,
            )


def _serve(engine: OfflineEngine, first: int) -> None:
    """Serve NUM_TOGETHER applications, and end them."""
    for number in range(first, first + NUM_TOGETHER):
        facts = ApplicationFacts(
            f"app-{number}", tenant=f"tenant-{number % NUM_TENANTS}", predicted_cost=50.0
        )
        for index in range(2):
            engine.add(
                f"call-{number}-{index}",
                prompt=10,
                num_output_tokens=2 + number % 3,
                extra_args={EXTRA_ARGS_KEY: pack(facts, CallFacts(last=index == 1))},
            )
    while engine.has_work:
        engine.step()
    ledger = engine.scheduler.ledger
    assert not engine.scheduler.errors, engine.scheduler.errors
    for app_id in list(ledger.in_flight):
        ledger.finish(app_id, ledger._now)


if __name__ == "__main__":
    main()
