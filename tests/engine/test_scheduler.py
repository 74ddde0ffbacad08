"""Our scheduler inside vLLM's, run without a model, synchronously and asynchronously."""

import random

import pytest
from vllm.v1.core.sched.async_scheduler import AsyncScheduler

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost

pytestmark = pytest.mark.engine

SCARCE = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=2048)
SCARCE_ASYNC = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=2048, overlap=True)
ROOMY = OfflineOptions(4000, max_model_len=1024, max_num_batched_tokens=2048)
both_ways = pytest.mark.parametrize("options", [SCARCE, SCARCE_ASYNC], ids=["sync", "async"])


def facts(app, cost, **call):
    return {EXTRA_ARGS_KEY: pack(ApplicationFacts(app, predicted_cost=cost), CallFacts(**call))}


def run(engine, *, observe=lambda engine: None):
    """Step until nothing is left; return the steps whose output was processed."""
    steps = []
    while engine.has_work:
        if (step := engine.step()) is not None:
            steps.append(step)
        observe(engine)
        assert len(steps) < 20_000
    return steps


def random_calls(seed, number=60):
    draw = random.Random(seed)
    return [(f"r{index}", draw.randint(5, 200), draw.randint(1, 80)) for index in range(number)]


@both_ways
def test_vllm_schedules_ahead_only_where_it_is_told_to(options):
    """The asynchronous scheduler's bookkeeping is spared where nothing is asynchronous."""
    assert isinstance(OfflineEngine(options).scheduler, AsyncScheduler) == options.overlap


@both_ways
def test_every_token_is_charged_once_whatever_is_preempted(options):
    """Attained service equals the cost formula, with memory so scarce that calls are preempted."""
    engine = OfflineEngine(options)
    calls = random_calls(1)
    for name, prompt, output in calls:
        engine.add(name, prompt=prompt, num_output_tokens=output, extra_args=facts(name, 100.0))
    steps = run(engine)
    ledger = engine.scheduler.ledger
    assert sum(step.num_preempted for step in steps) > 0
    for name, prompt, output in calls:
        ledger.finish(name, ledger._now)
        account = ledger.finished[name]
        assert account.attained_service == call_cost(prompt, output)
        assert account.num_prefill_tokens == prompt or account.num_preemptions
    assert sum(account.num_recomputed_tokens for account in ledger.finished.values()) > 0
    assert not engine.scheduler.errors


@both_ways
@pytest.mark.parametrize("seed", range(3))
def test_fcfs_is_vllms_own_order(options, seed):
    """Step by step, the same requests get the same tokens as under vLLM's FCFS."""
    ours = OfflineEngine(options, Settings(policy="fcfs"))
    stock = OfflineEngine(options, scheduler_class=AsyncScheduler, scheduling_policy="fcfs")
    for name, prompt, output in random_calls(seed):
        for engine in (ours, stock):
            engine.add(name, prompt=prompt, num_output_tokens=output)
    assert run(ours) == run(stock)


@both_ways
def test_the_smaller_virtual_finish_is_admitted_first(options):
    """With more waiting than fits, applications come in order of F, not of arrival."""
    engine = OfflineEngine(options)
    for index, cost in enumerate([9e5, 1e5, 5e5]):
        for call in range(12):
            engine.add(
                f"{index}-{call}",
                prompt=90,
                num_output_tokens=30,
                extra_args=facts(f"{index}", cost),
            )
    first_seen = list(dict.fromkeys(name for step in run(engine) for name in step.delivered))
    assert [name[0] for name in first_seen] == ["1"] * 12 + ["2"] * 12 + ["0"] * 12


@both_ways
def test_the_victim_is_the_call_with_the_largest_virtual_finish(options):
    """When memory runs out while decoding, the application last in order gives it up."""
    engine = OfflineEngine(options)
    for index, cost in enumerate([1e6, 1e3]):
        for call in range(4):
            engine.add(
                f"{index}-{call}", prompt=60, num_output_tokens=100,
                extra_args=facts(f"{index}", cost),
            )  # fmt: skip
    accounts = engine.scheduler.ledger.in_flight
    steps = run(engine)
    assert sum(step.num_preempted for step in steps) > 0
    assert accounts["1"].num_preemptions == 0


@both_ways
def test_stages_of_an_application_go_in_order(options):
    """Within an application an earlier stage is admitted first, whenever it came."""
    engine = OfflineEngine(options)
    for stage in (1, 0):
        for call in range(12):
            engine.add(
                f"{stage}-{call}", prompt=90, num_output_tokens=20,
                extra_args=facts("a", 1e5, stage_index=stage),
            )  # fmt: skip
    first_seen = list(dict.fromkeys(name for step in run(engine) for name in step.delivered))
    assert [name[0] for name in first_seen] == ["0"] * 12 + ["1"] * 12


@both_ways
def test_aborting_frees_calls_and_accounts(options):
    """Waiting or running, an aborted call leaves the queues, the books and the KV cache."""
    engine = OfflineEngine(options)
    for name, prompt, output in random_calls(2, 30):
        engine.add(name, prompt=prompt, num_output_tokens=output)
    for _ in range(3):
        engine.step()
    for name, _, _ in random_calls(2, 30):
        engine.abort(name)
    run(engine)
    scheduler = engine.scheduler
    scheduler.ledger.expire(scheduler.ledger._now)  # as the server's poll does every second
    assert not scheduler.ledger.in_flight
    assert not scheduler.ledger.num_settling
    assert len(scheduler.ledger.reference) == 0
    assert len(scheduler.waiting) == 0
    assert engine.kv_usage_ratio == 0
    assert not scheduler.errors


def test_the_reference_empties_with_the_server():
    """With true costs and the delivered clock both are busy at the same times."""
    engine = OfflineEngine(ROOMY)
    for name, prompt, output in random_calls(3, 40):
        cost = float(call_cost(prompt, output))
        engine.add(
            name, prompt=prompt, num_output_tokens=output, extra_args=facts(name, cost, last=True)
        )
    busy = []

    def observe(engine):
        reference = engine.scheduler.ledger.reference
        busy.append((bool(len(reference)), engine.has_work))

    run(engine, observe=observe)
    assert all(in_reference == in_server for in_reference, in_server in busy)


def test_a_broken_carrier_is_counted_and_the_call_served():
    """Nonsense under our key stops nothing."""
    engine = OfflineEngine(ROOMY)
    engine.add("r", prompt=5, num_output_tokens=3, extra_args={EXTRA_ARGS_KEY: "nonsense"})
    steps = run(engine)
    assert sum(step.delivered.get("r", 0) for step in steps) == 3
    assert dict(engine.scheduler.errors) == {"add_call:AccountingError": 1}


@pytest.mark.parametrize("cost", [-1.0, 0.0])
def test_a_nonsense_cost_is_counted_and_the_call_served(cost):
    """The core refuses it, the scheduler serves the call as its own application."""
    engine = OfflineEngine(ROOMY)
    engine.add("r", prompt=5, num_output_tokens=3, extra_args=facts("a", cost))
    run(engine)
    assert engine.scheduler.errors["add_call:AccountingError"] == 1
    assert not engine.scheduler.ledger.in_flight


def test_blocks_hit_and_held_alone_are_charged_in_full():
    """One call after another hits the same blocks: each holds them alone, and pays p + i."""
    options = OfflineOptions(4000, max_model_len=1024, prefix_caching=True)
    engine = OfflineEngine(options)
    for index in range(4):
        engine.add(f"r{index}", prompt=[1] * 200, num_output_tokens=10, extra_args=facts("a", 1e5))
        run(engine)
    assert engine.scheduler.ledger.in_flight["a"].attained_service == 4 * call_cost(200, 10)
    assert engine.scheduler.ledger.in_flight["a"].num_prefill_tokens < 4 * 200
