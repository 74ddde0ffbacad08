"""Workloads on vLLM's real scheduler with modelled step times."""

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.simulation.measures import measures_of
from justitia_server.simulation.run import simulate
from justitia_server.simulation.server import Server
from justitia_server.simulation.step_time import StepTime
from justitia_server.simulation.workload import Arriving

pytestmark = pytest.mark.engine

# A decode step takes 10 ms whoever is in it, a prompt 1 ms and as many as it has tokens / 100.
STEPS = StepTime(10.0, 0.0, 0.0, 1.0, 0.01, 0.0)


def server(**options):
    return Server(STEPS, **{"num_blocks": 100, "overlap": False, **options})


def application(app_id, *calls, at=0.0, **told):
    """Each call is (p, d) or a dict; a chain unless told otherwise."""
    lines = []
    for place, call in enumerate(calls):
        fields = call if isinstance(call, dict) else dict(zip(("p", "d"), call, strict=True))
        tokens = {"prompt_tokens": fields.pop("p"), "output_tokens": fields.pop("d")}
        after = {"after": [place - 1]} if place else {}
        lines.append({"id": place, **after, **tokens, **fields})
    told = {"app_type": "t", **told}
    return Arriving(app_id=app_id, calls=lines, arrival_s=at, **told)


def mixed(number=12):
    """Chains and fan-outs, large and small, arriving over two seconds."""
    return [
        application(
            f"a{index}",
            *((100 + 37 * index % 300, 5 + 11 * index % 40) for _ in range(1 + index % 3)),
            {"p": 60, "d": 10, "samples": 1 + index % 4},
            at=index * 0.2,
        )
        for index in range(number)
    ]


def outcome(run, app_id):
    (found,) = (each for each in run.outcomes if each.app_id == app_id)
    return found


def test_one_call_takes_its_steps():
    """100 tokens of prompt: 1 + 1 ms, its first token with them; then nine steps of 10 ms."""
    run = simulate([application("a", (100, 10), at=5.0)], server(), "justitia")
    assert outcome(run, "a").jct_s == pytest.approx(0.002 + 9 * 0.010)
    assert (run.num_iterations, run.busy_s) == (10, pytest.approx(0.092))


def test_a_call_waits_for_those_before_it_and_for_its_delay():
    """Two calls of one step each, with 3 s at a tool between them; others' time goes on."""
    chain = application("a", (100, 1), {"p": 100, "d": 1, "delay_s": 3.0})
    run = simulate([chain, application("b", (50, 20))], server(), "justitia")
    assert outcome(run, "a").jct_s == pytest.approx(3.0, abs=0.05)
    assert outcome(run, "b").jct_s < 1


def test_calls_that_wait_for_none_run_together():
    """Eight calls of ten steps: the length of one of them."""
    calls = [{"p": 20, "d": 10, "after": []} for _ in range(8)]
    run = simulate([application("a", *calls)], server(), "justitia")
    assert run.num_iterations == 10


def test_samples_are_sequences_of_their_own():
    """The call has ended when the last of them has."""
    run = simulate([application("a", {"p": 20, "d": 10, "samples": 8}, (5, 1))], server(), "fcfs")
    assert run.num_iterations == 11
    assert outcome(run, "a").num_output_tokens == 81


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "overlap"])
@pytest.mark.parametrize("policy", ["fcfs", "vtc", "justitia"])
def test_equal_runs_are_equal(policy, overlap):
    """To the last bit, but for the time the scheduler took."""
    scarce = server(num_blocks=40, overlap=overlap)
    runs = [simulate(mixed(), scarce, policy, predicted_cost="lognormal:1") for _ in range(2)]
    assert runs[0].outcomes == runs[1].outcomes
    assert runs[0].num_preemptions == runs[1].num_preemptions


def test_overlap_sees_an_output_one_step_later():
    """A chain of two: the second call is scheduled a step after the first has ended."""
    runs = [
        simulate([application("a", (10, 3), (10, 3))], server(overlap=overlap), "justitia")
        for overlap in (False, True)
    ]
    synchronous, overlapped = (run.outcomes[0].finish_s for run in runs)
    assert overlapped >= synchronous


@pytest.mark.parametrize("policy", ["justitia", "justitia_nominal"])
def test_with_true_costs_the_bound_holds(policy):
    """Fan-outs of one stage; memory is scarce."""
    single = [
        application(
            f"s{index}",
            *({"p": 50 + 9 * index, "d": 20, "after": []} for _ in range(1 + index % 5)),
            at=index * 0.1,
        )
        for index in range(24)
    ]
    run = simulate(single, server(num_blocks=40), policy)
    assert measures_of(run)["bound_violations"] == 0


def test_shared_prefixes_are_computed_and_held_once():
    """Eight samples of a prompt of 320 tokens: with prefix caching they fit at once."""
    shared = {"p": 320, "d": 40, "shared_prefix_tokens": 320, "prefix_scope": "app"}
    first = {"p": 320, "d": 1, "shared_prefix_tokens": 320, "prefix_scope": "app"}
    workload = [application("a", first, {**shared, "samples": 8})]
    with_caching, without = (
        simulate(workload, server(num_blocks=60, prefix_caching=on), "justitia")
        for on in (True, False)
    )
    assert with_caching.num_iterations < without.num_iterations / 2


def test_a_small_application_goes_before_a_large_one_that_came_first():
    """Under Justitia, when memory is scarce; first come, first served it waits."""
    large = application("large", *({"p": 200, "d": 100, "after": []} for _ in range(30)))
    small = application("small", (100, 10), at=0.5)
    fair, fcfs = (
        outcome(simulate([large, small], server(num_blocks=60), policy), "small").jct_s
        for policy in ("justitia", "app_fcfs")
    )
    assert fair < fcfs / 2


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("offset", [0, 5, 10])
def test_a_call_that_is_its_own_victim_holds_nobody_up(overlap, offset):
    """Where the first in the batch gives up its memory to itself, the step has nothing in it."""
    large = application("large", (1000 + offset, 500))
    small = application("small", (300, 250), at=0.5)
    run = simulate([large, small], server(overlap=overlap), "justitia")
    assert run.num_preemptions == 1
    assert outcome(run, "small").jct_s == pytest.approx(0.004 + 249 * 0.010, rel=0.02)


def test_a_call_that_does_not_fit_is_refused():
    """It would wait for ever."""
    with pytest.raises(ConfigurationError, match="call 0 of a needs 2000 KV tokens"):
        simulate([application("a", (1900, 100))], server(), "justitia")


@pytest.mark.parametrize("told", ["false", "lognormal", "lognormal:-1", "lognormal:x"])
def test_predicted_costs_that_make_no_sense_are_refused(told):
    """With what there is."""
    with pytest.raises(ConfigurationError, match="true, typical, online"):
        simulate(mixed(1), server(), "justitia", predicted_cost=told)


def test_errors_of_predictions_are_measured():
    """True costs have none; the server's own predictor learns its way."""
    true, noisy, online = (
        measures_of(simulate(mixed(), server(), "justitia", predicted_cost=told))
        for told in ("true", "lognormal:1", "online")
    )
    assert (true["prediction_mre"], true["prediction_kendall_tau"]) == (0, pytest.approx(1))
    assert noisy["prediction_mre"] > 0.2
    assert online["prediction_mre"] > 0


def test_progress_is_told():
    """Once an application."""
    told = []
    simulate(mixed(5), server(), "justitia", progress=lambda done, of: told.append((done, of)))
    assert told == [(number, 5) for number in range(1, 6)]


def test_where_the_time_of_an_application_went_adds_up():
    """Served in full, waiting, away: the three make up its completion time."""
    applications = [application(name, (200, 60), (200, 60)) for name in "abc"]
    run = simulate(applications, server(num_blocks=40), "fcfs", explain="c")
    waits, outcome = run.waits, run.outcomes[2]
    assert waits.waited_s > 0
    assert set(waits.behind) <= {"a", "b", "c"}
    assert waits.served_s + waits.waited_s == pytest.approx(outcome.jct_s, rel=0.05)
