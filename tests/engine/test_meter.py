"""Reading service late changes nothing but the time it takes."""

import random

import pytest

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost

pytestmark = pytest.mark.engine


def applications(seed):
    """Sixty calls of twenty applications, arriving over time, their costs known within half."""
    draw = random.Random(seed)
    arrivals = []
    for app in range(20):
        calls = [(draw.randint(5, 200), draw.randint(1, 80)) for _ in range(draw.randint(1, 5))]
        cost = sum(call_cost(*call) for call in calls) * draw.uniform(0.5, 2.0)
        arrivals.append((draw.randint(0, 300), f"a{app}", max(cost, 1.0), calls))
    return sorted(arrivals)


def trace(seed, *, overlap, read_every_step, prefix_caching):
    """Run to the end; return every application's tags and fair finish, and the readings made."""
    options = OfflineOptions(
        100, max_model_len=1024, max_num_batched_tokens=1024, overlap=overlap,
        prefix_caching=prefix_caching,
    )  # fmt: skip
    engine = OfflineEngine(options)
    ledger, num_readings = engine.scheduler.ledger, 0
    ledger.policy.reads_service = read_every_step
    read = engine.scheduler.meter.read

    def counted():
        nonlocal num_readings
        num_readings += 1
        read()

    ledger.meter = counted
    pending = applications(seed)
    for step in range(5000):
        while pending and pending[0][0] <= step:
            _, app, cost, calls = pending.pop(0)
            facts = pack(ApplicationFacts(app, predicted_cost=cost), CallFacts())
            for index, (prompt, output) in enumerate(calls):
                engine.add(
                    f"{app}-{index}", prompt=prompt, num_output_tokens=output,
                    extra_args={EXTRA_ARGS_KEY: facts},
                )  # fmt: skip
        if not engine.has_work and not pending:
            break
        engine.step()
        for app, account in list(ledger.in_flight.items()):
            if account.state == "idle":
                ledger.finish(app, ledger._now)
    accounts = {
        app: (
            round(account.virtual_finish, 3),
            round(account.attained_service, 3),
            account.finished_iteration,
            account.fair_finished_iteration,
        )
        for app, account in ledger.finished.items()
    }
    assert not engine.scheduler.errors
    return accounts, num_readings


@pytest.mark.parametrize("prefix_caching", [False, True], ids=["plain", "shared"])
@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("seed", range(4))
def test_reading_late_dates_everything_as_reading_every_step(seed, overlap, prefix_caching):
    """Tags, attained service, finish and fair finish are the same to the iteration."""
    how = {"overlap": overlap, "prefix_caching": prefix_caching}
    late, num_late = trace(seed, read_every_step=False, **how)
    every_step, num_every_step = trace(seed, read_every_step=True, **how)
    assert len(late) == 20
    assert late == every_step
    assert num_late < num_every_step
