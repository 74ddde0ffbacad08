"""
Microseconds an event costs in the fair core, by how many applications are live.

    python tests/benchmarks/fair_order.py [--live 1000 10000 100000] [--tenants 1 16] [--events N]

Keeps so many applications live, each with one waiting call, and times the whole event as the
scheduler goes through it: an arrival (account, tag, reference, queue), a correction (reference,
tag, queue, and the next call looked up), a completion (last call ends, debt, settlement, the next
call looked up). Service is fed between events, so that applications leave the reference.
Medians over the events of all rounds; sizes take turns, so that a host that slows down slows all.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from justitia_server.fairness.accounts import ApplicationFacts, Call, CallFacts
from justitia_server.fairness.call_queue import CallQueue
from justitia_server.fairness.ledger import Ledger, LedgerOptions
from justitia_server.fairness.policies.registry import make_policy

KINDS = ("arrival", "correction", "completion")
NUM_ROUNDS = 5
MEAN_COST = 1_000_000.0


def main() -> None:
    """Time every size and print a table."""
    options = _options()
    for num_tenants in options.tenants:
        cores = [_Core(num_live, num_tenants) for num_live in options.live]
        for _ in range(NUM_ROUNDS):
            for core in cores:
                core.run(options.events // NUM_ROUNDS)
        _print(cores, num_tenants)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--events", type=int, default=5_000)
    return parser.parse_args()


class _Core:
    """Books with so many live applications."""

    def __init__(self, num_live: int, num_tenants: int) -> None:
        self.num_live = num_live
        self._num_tenants = num_tenants
        self._draw = random.Random(num_live)
        policy = make_policy("justitia")
        self._ledger = Ledger(policy, LedgerOptions(capacity=100_000))
        self._queue = CallQueue(policy)
        self._ledger.on_fall = self._queue.refresh
        self._numbers = itertools.count()
        self._now = 0.0
        self._live: list[Call] = []
        for _ in range(num_live):
            self._live.append(self._arrive())
        self.times_us: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def run(self, num_events: int) -> None:
        """Time *num_events* of each kind; as many arrive as end."""
        gc.collect()
        for _ in range(num_events):
            self._serve()
            self._live.append(self._timed("arrival", self._arrive))
            self._timed("correction", self._correct)
            place = self._draw.randrange(len(self._live))
            self._live[place], self._live[-1] = self._live[-1], self._live[place]
            self._timed("completion", self._complete)

    def _timed(self, kind: str, event: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = event()
        self.times_us[kind].append((time.perf_counter() - start) * 1e6)
        return result

    def _arrive(self) -> Call:
        number = next(self._numbers)
        facts = ApplicationFacts(
            f"app-{number}",
            tenant=f"tenant-{self._draw.randrange(self._num_tenants)}",
            weight=self._draw.choice((0.5, 1.0, 1.0, 2.0)),
            predicted_cost=self._draw.expovariate(1 / MEAN_COST) + 1,
        )
        call = self._ledger.add_call(
            facts, CallFacts(), f"call-{number}", num_prompt_tokens=500, now=self._now
        )
        self._queue.add(call)
        return call

    def _correct(self) -> None:
        account = self._draw.choice(self._live).account
        cost = account.predicted_cost * self._draw.uniform(0.5, 1.5) + 1
        self._ledger.revise(account.app_id, cost, self._now)
        self._queue.peek()

    def _complete(self) -> None:
        call = self._live.pop()
        self._queue.remove(call)
        self._ledger.end_call(call, self._now, completed=True)
        self._ledger.finish(call.account.app_id, self._now)
        self._queue.peek()

    def _serve(self) -> None:
        """Give one call output: in the long run as much leaves the reference as enters it."""
        call = self._draw.choice(self._live)
        self._ledger.deliver(call, call.num_output_tokens + 1_000)
        self._now += 1.0
        self._ledger.end_iteration(self._now)


def _print(cores: list[_Core], num_tenants: int) -> None:
    print(f"\n{num_tenants} tenant(s): median us an event [90 %]")
    print(f"{'live':>8}" + "".join(f"{kind:>20}" for kind in KINDS))
    for core in cores:
        cells = []
        for kind in KINDS:
            times = core.times_us[kind]
            nine_tenths = statistics.quantiles(times, n=10)[-1]
            cells.append(f"{statistics.median(times):>11.1f} [{nine_tenths:5.1f}]")
        print(f"{core.num_live:>8}" + "".join(f"{cell:>20}" for cell in cells))
    least, most = cores[0], cores[-1]
    growth = [
        f"{statistics.median(most.times_us[kind]) / statistics.median(least.times_us[kind]):.2f}"
        for kind in KINDS
    ]
    print(f"{'growth':>8}" + "".join(f"{each:>20}" for each in growth))


if __name__ == "__main__":
    main()
