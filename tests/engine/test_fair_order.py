"""The fair order inside vLLM's scheduler: tenants, revised predictions, idle time, every policy."""

import gc
import json

import pytest

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.control import control
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.policies.registry import POLICIES

pytestmark = pytest.mark.engine

SCARCE = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=2048)
SCARCE_ASYNC = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=2048, overlap=True)
both_ways = pytest.mark.parametrize("options", [SCARCE, SCARCE_ASYNC], ids=["sync", "async"])


def add(engine, name, *, prompt=90, output=30, tenant="default", cost=1e5, **call):
    """Queue a call; its application is what stands before the dash in its name."""
    app = f"{tenant}/{name.partition('-')[0]}"
    told = pack(ApplicationFacts(app, tenant=tenant, predicted_cost=cost), CallFacts(**call))
    engine.add(name, prompt=prompt, num_output_tokens=output, extra_args={EXTRA_ARGS_KEY: told})
    return app


def run(engine):
    """Step until nothing is left; return the names of calls in the order of their first tokens."""
    seen = {}
    for _ in range(20_000):
        if not engine.has_work:
            return list(seen)
        if (step := engine.step()) is not None:
            seen.update(dict.fromkeys(step.delivered))
    raise AssertionError("does not end")


@both_ways
def test_a_tenant_with_many_applications_does_not_crowd_out_one_with_few(options):
    """Twelve applications of one tenant came first; the other's two are served in their turn."""
    engine = OfflineEngine(options)
    for index in range(12):
        add(engine, f"a{index}-0", tenant="many", cost=4e3)
    for index in range(2):
        add(engine, f"b{index}-0", tenant="few", cost=4e3)
    order = run(engine)
    assert max(order.index("b0-0"), order.index("b1-0")) <= 4
    assert not engine.scheduler.errors


@both_ways
@pytest.mark.parametrize(
    ("weight", "first"),
    [
        (1.0, "l"),  # Phi: heavy (6000 + 6000) / 1, light (3000 + 3000) / 1
        (3.0, "h"),  # Phi: heavy (6000 + 6000) / 3
    ],
)
def test_a_tenants_weight_is_its_share(options, weight, first):
    """Two applications each, the one tenant's twice as large: first unless its weight is three."""
    engine = OfflineEngine(options, Settings(tenant_weights={"heavy": weight}))
    for index in range(2):
        add(engine, f"h{index}-0", tenant="heavy", cost=6e3)
        add(engine, f"l{index}-0", tenant="light", cost=3e3)
    assert [name[0] for name in run(engine)[:2]] == [first, first]


@both_ways
def test_a_downward_revision_moves_waiting_calls_at_once(options):
    """The last in order becomes the first of those that wait."""
    engine = OfflineEngine(options)
    apps = [add(engine, f"a{index}-0", prompt=200, cost=1e4 * (index + 1)) for index in range(9)]
    engine.step()
    ledger = engine.scheduler.ledger
    ledger.revise(apps[8], 5e3, ledger._now)
    order = run(engine)
    num_admitted_before = 4  # sixty blocks of sixteen hold so many prompts of two hundred
    assert order.index("a8-0") == num_admitted_before


@both_ways
def test_a_revised_application_is_spared_as_a_victim(options):
    """Which running call gives up its memory follows the tags as they are then."""
    engine = OfflineEngine(options)
    apps = [add(engine, f"a{i}-0", prompt=200, output=100, cost=1e4 * (i + 1)) for i in range(4)]
    engine.step()
    ledger = engine.scheduler.ledger
    ledger.revise(apps[3], 5e3, ledger._now)
    accounts = [ledger.in_flight[app] for app in apps]
    run(engine)
    assert accounts[3].num_preemptions == 0
    assert accounts[2].num_preemptions > 0


@both_ways
def test_a_scout_call_goes_before_what_its_application_would_wait_for(options):
    """A call with a tag of its own is ordered by its own cost."""
    engine = OfflineEngine(options)
    for index in range(8):
        add(engine, f"a{index}-0", prompt=200, cost=2e4)
    add(engine, "big-0", prompt=50, output=10, cost=1e7, is_scout=True, predicted_output_tokens=10)
    add(engine, "late-0", prompt=50, output=10, cost=1e7)
    order = run(engine)
    assert order.index("big-0") < order.index("a7-0") < order.index("late-0")


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
def test_every_policy_serves_everything_and_keeps_nothing(policy, overlap):
    """Scarce memory, two tenants, stages, an abort: all is served, no error, books empty."""
    options = OfflineOptions(60, max_model_len=1024, overlap=overlap)
    engine = OfflineEngine(options, Settings(policy=policy))
    apps = set()
    for index in range(40):
        name = f"a{index % 13}-{index}"
        apps.add(
            add(
                engine, name, prompt=20 + 7 * index, output=5 + index,
                tenant=f"t{index % 2}", stage_index=index % 3,
            )
        )  # fmt: skip
    for _ in range(5):
        engine.step()
    engine.abort("a0-39")
    run(engine)
    ledger = engine.scheduler.ledger
    assert sum(account.num_done for account in ledger.in_flight.values()) == 39
    for app in apps:
        ledger.finish(app, ledger._now)
    ledger.expire(ledger._now)
    assert not engine.scheduler.errors
    assert not ledger.in_flight
    assert not ledger.num_settling
    assert len(ledger.reference) == 0
    assert len(engine.scheduler.waiting) == 0


def test_what_makes_no_sense_is_counted_logged_once_and_served(caplog):
    """A weight below zero, twice: two calls served, one line in the log, two counted."""
    engine = OfflineEngine(SCARCE)
    for index in range(2):
        told = pack(ApplicationFacts(f"a{index}", weight=-1.0), CallFacts())
        engine.add(f"c{index}", prompt=10, num_output_tokens=5, extra_args={EXTRA_ARGS_KEY: told})
    with caplog.at_level("ERROR", logger="justitia.server.engine"):
        assert run(engine) == ["c0", "c1"]
    assert engine.scheduler.errors == {"add_call:AccountingError": 2}


def test_a_plan_told_later_revises_the_prediction():
    """Announcing a running application again, with a plan, is a revision."""
    engine = OfflineEngine(SCARCE)
    app = add(engine, "a-0", cost=1e6)
    told = {"app_id": app, "predicted_cost": 5e3, "declared_cost": 2.0}
    answer = json.loads(control(engine.scheduler, "announce", json.dumps({"facts": told})))
    assert answer["application"]["predicted_cost"] == 5e3
    assert engine.scheduler.ledger.in_flight[app].virtual_finish == 5e3


def test_an_ended_request_is_freed_without_the_garbage_collector():
    """A call and its request hold each other; that circle is cut when the call ends."""
    engine = OfflineEngine(SCARCE)
    gc.collect()
    gc.disable()
    try:
        add(engine, "a-0")
        run(engine)
        calls = [each for each in gc.get_objects() if type(each).__name__ == "Request"]
        assert calls == []
    finally:
        gc.enable()
