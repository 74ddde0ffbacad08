"""Reading service late changes nothing but the time it takes."""

import random
from types import SimpleNamespace

import pytest
from support.books import Books

from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.meter import MOST_STEPS_UNREAD, Meter
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.request_queue import call_of
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.fairness.cost import call_cost

pytestmark = pytest.mark.engine


def applications(seed):
    """Sixty calls of twenty applications, arriving over time, their costs told up to twice."""
    draw = random.Random(seed)
    arrivals = []
    for app in range(20):
        calls = [(draw.randint(5, 200), draw.randint(1, 80)) for _ in range(draw.randint(1, 5))]
        cost = sum(call_cost(*call) for call in calls) * draw.uniform(1.0, 2.0)
        arrivals.append((draw.randint(0, 300), f"a{app}", max(cost, 1.0), calls))
    return sorted(arrivals)


def add(engine, app, cost, calls):
    """Let the calls of an application arrive together."""
    facts = pack(ApplicationFacts(app, predicted_cost=cost), CallFacts())
    for index, (prompt, output) in enumerate(calls):
        engine.add(
            f"{app}-{index}", prompt=prompt, num_output_tokens=output,
            extra_args={EXTRA_ARGS_KEY: facts},
        )  # fmt: skip


def trace(seed, *, overlap, read_every_step, prefix_caching):
    """Run to the end; return every application's tags and fair finish, and the readings made."""
    options = OfflineOptions(
        100, max_model_len=1024, max_num_batched_tokens=1024, overlap=overlap,
        prefix_caching=prefix_caching,
    )  # fmt: skip
    engine = OfflineEngine(options)
    ledger = engine.scheduler.ledger
    ledger.policy.reads_service = read_every_step
    pending = applications(seed)
    for step in range(5000):
        while pending and pending[0][0] <= step:
            add(engine, *pending.pop(0)[1:])
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
    return accounts, engine.scheduler.meter.num_readings


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


def test_use_beyond_the_prediction_is_noticed_soon_enough():
    """One call, told almost nothing, and no event that would read: within so many steps."""
    engine = OfflineEngine(OfflineOptions(100, max_model_len=1024))
    facts = pack(ApplicationFacts("a", predicted_cost=1.0), CallFacts())
    engine.add("r", prompt=10, num_output_tokens=200, extra_args={EXTRA_ARGS_KEY: facts})
    account = None
    for step in range(1, 200):
        engine.step()
        account = engine.scheduler.ledger.find("a")
        assert account.predicted_cost >= call_cost(10, max(step - 2 * MOST_STEPS_UNREAD, 0))
    assert account.predicted_cost < call_cost(10, 199)  # and not read in every step


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
def test_a_token_is_charged_in_the_step_that_delivers_it(overlap):
    """Neither before nor after, whatever is preempted with its output under way."""
    options = OfflineOptions(60, max_model_len=1024, max_num_batched_tokens=1024, overlap=overlap)
    engine = OfflineEngine(options)
    ledger = engine.scheduler.ledger
    ledger.policy.reads_service = True
    held, delivered, num_preempted = {}, 0, 0
    for _, app, cost, calls in applications(0):
        for index, (prompt, output) in enumerate(calls):
            name = f"{app}-{index}"
            held[name] = prompt
            facts = pack(ApplicationFacts(name, predicted_cost=cost), CallFacts(last=True))
            engine.add(
                name, prompt=prompt, num_output_tokens=output, extra_args={EXTRA_ARGS_KEY: facts}
            )
    while engine.has_work:
        if (step := engine.step()) is None:
            continue  # overlapped: the first output is still to come
        num_preempted += step.num_preempted
        for request_id, num_tokens in step.delivered.items():
            for _ in range(num_tokens):
                held[request_id] += 1
                delivered += held[request_id]
        assert sum(each.attained_service for each in all_accounts(ledger)) == delivered
    assert num_preempted > 10


def crowd(seed, *, overlap):
    """Return an engine with sixty calls at once, and little memory and prefill for them."""
    options = OfflineOptions(
        80, max_model_len=1024, max_num_batched_tokens=128, max_num_seqs=64, overlap=overlap
    )
    engine = OfflineEngine(options)
    for _, *application in applications(seed):
        add(engine, *application)
    return engine


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("seed", range(4))
def test_the_reference_is_fed_what_was_delivered_whoever_has_been_read(seed, overlap):
    """Asked after any step, with chunked prefills and preemptions, to the token."""
    engine = crowd(seed, overlap=overlap)
    ledger, fed, delivered = engine.scheduler.ledger, [], 0
    held = {name: request.num_prompt_tokens for name, request in engine.scheduler.requests.items()}
    take = ledger.feed.take
    ledger.feed.take = lambda: (fed.append(take()), fed[-1])[1]
    draw, num_steps, num_preempted = random.Random(seed), 0, 0
    while engine.has_work:
        if (step := engine.step()) is None:
            continue
        num_steps += 1
        num_preempted += step.num_preempted
        for request_id, num_tokens in step.delivered.items():
            for _ in range(num_tokens):
                held[request_id] += 1
                delivered += held[request_id]
        if draw.random() < 0.3:
            ledger.catch_up(ledger._now)
            assert sum(fed) == delivered
    assert sum(fed) == delivered == sum(each.attained_service for each in all_accounts(ledger))
    assert num_preempted > 5
    assert engine.scheduler.meter.num_readings < 0.15 * num_steps


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "async"])
def test_the_longest_call_is_known_without_reading(overlap):
    """The bound of whoever ends now rests on it."""
    engine = crowd(0, overlap=overlap)
    requests = list(engine.scheduler.requests.values())
    ledger, num_steps = engine.scheduler.ledger, 0
    while engine.has_work:
        num_steps += engine.step() is not None
        ledger.catch_up(ledger._now)
        lengths = [
            call_of(each).num_prefill_iterations + each.num_output_tokens
            for each in requests
            if each.num_output_tokens
        ]
        assert ledger.busy_period.longest_call == max(lengths, default=0)
    assert engine.scheduler.meter.num_readings < 0.15 * num_steps


def all_accounts(ledger):
    return [*ledger.in_flight.values(), *ledger.finished.values()]


def test_a_call_preempted_with_its_output_under_way_is_read_until_that_has_come():
    """Read between its preemption and its last token, as another call's end may have it."""
    books = Books()
    call = books.call("a", prompt=10)
    call.request = SimpleNamespace(num_output_tokens=3, num_stale_output_tokens=0)
    meter = Meter(books.ledger)
    books.queue.remove(call)
    meter.admit(call, books.now)
    meter.read()
    books.queue.add(call)
    call.request.num_stale_output_tokens = 1
    for num_output_tokens, num_stale in ((3, 1), (4, 0)):
        call.request.num_output_tokens = num_output_tokens
        call.request.num_stale_output_tokens = num_stale
        meter.end_step(books.now, 1)
        meter.read()
    assert call.account.attained_service == call_cost(10, 4)


def running(books, meter, app_id, **told):
    """Let a call of ten prompt tokens run; whoever gives it tokens sets them on its request."""
    call = books.call(app_id, prompt=10, **told)
    call.request = SimpleNamespace(num_output_tokens=0, num_stale_output_tokens=0)
    books.queue.remove(call)
    meter.admit(call, books.now)
    return call


def step(books, meter, *calls, ends=(), seconds=1.0):
    """Give *calls* a token each, end *ends*, close the step; return whether anyone looked."""
    looks = []
    books.ledger.feed_sum = lambda: (looks.append(None), meter.feed())
    books.now += seconds
    meter.is_under_way = True
    for call in calls:
        call.request.num_output_tokens += 1
    for call in ends:
        meter.close(call)
        books.end(call)
    looks.clear()
    meter.end_step(books.now, len(calls))
    return bool(looks)


def quiet_meter(**options):
    """Return books with one endless call, and a meter that has been told nobody need be read."""
    books = Books(**options)
    meter = Meter(books.ledger)
    rest = running(books, meter, "rest", cost=1e9)
    assert not step(books, meter, rest)
    assert not step(books, meter, rest)
    return books, meter, rest


def test_one_who_comes_while_all_is_quiet_is_dated_when_it_leaves():
    """Cost 20 at half the service: 13 + 14 + 15 are given in three steps, and 40 are enough."""
    books, meter, rest = quiet_meter()
    account = running(books, meter, "b", cost=20.0).account
    came = books.ledger.iteration
    reads = [step(books, meter, rest) for _ in range(5)]
    assert account.fair_finished_iteration == came + 2
    assert True in reads[:3]


def test_the_end_of_a_grace_period_is_noticed_while_all_is_quiet():
    """Steps of half a second; two seconds after its call ended an application is paused."""
    books, meter, rest = quiet_meter(idle_grace_s=2.0)
    call = running(books, meter, "b", cost=1e6)
    step(books, meter, rest, call, ends=[call])
    paused = []
    for _ in range(5):
        step(books, meter, rest, seconds=0.5)
        paused.append(call.account.is_paused)
    assert paused == [False, False, False, True, True]


def test_use_beyond_the_prediction_by_a_call_that_ends_is_noticed_in_that_step():
    """It was told to cost 100 and used 155."""
    books, meter, rest = quiet_meter()
    call = running(books, meter, "b", cost=100.0)
    assert not step(books, meter, rest)
    call.request.num_output_tokens = 9
    assert step(books, meter, rest, call, ends=[call])
    assert call.account.predicted_cost == call_cost(10, 10)


def test_the_end_of_the_last_call_is_noticed_in_that_step():
    """The finished leave the reference then, whatever it was told they would cost."""
    books, meter, rest = quiet_meter()
    rest.account.is_finishing = True
    step(books, meter, rest, ends=[rest])
    assert rest.account.lateness_iterations == 0


def test_a_reading_by_itself_puts_off_no_departure():
    """
    What it feeds is given to the reference only later, and makes the room smaller.

    Cost 40 at half the service: 13 + 14 + … + 18 are given in six steps, and 80 are enough.
    """
    books, meter, rest = quiet_meter()
    account = running(books, meter, "b", cost=40.0).account
    came = books.ledger.iteration
    for _ in range(8):
        step(books, meter, rest)
        books.ledger.read_all()
    assert account.fair_finished_iteration == came + 5
