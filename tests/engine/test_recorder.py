"""The recorder of a scheduler: what it takes down runs again as it ran."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.watched import WatchedServer
from typer.testing import CliRunner

from justitia_server.cli import app
from justitia_server.engine.carrier import EXTRA_ARGS_KEY, pack
from justitia_server.engine.control import control
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.recorder import Recorder, prompt_id
from justitia_server.engine.recording import sort_recording, workload_line
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts
from justitia_server.simulation.run import simulate
from justitia_server.simulation.step_time import StepTime
from justitia_server.simulation.workload import Arriving, read_workload

pytestmark = pytest.mark.engine

STEPS = StepTime(1.0, 0.01, 1e-5, 0.5, 0.01, 0.0)
ROOMY = 10_000
# A call comes to an engine between two steps. Which two may differ where it comes in the very
# microsecond in which one ends, and then so may the steps of those that run beside it.
SOME_STEPS_S = 0.012


def told(app_id="a", *, stage=None, last=False, **facts):
    application = ApplicationFacts(app_id, "t", predicted_cost=1e4, **facts)
    return {EXTRA_ARGS_KEY: pack(application, CallFacts(stage=stage, last=last))}


def recording_engine(**options):
    engine = OfflineEngine(OfflineOptions(400, **options), Settings(record="unused"))
    engine.scheduler.recorder = Recorder()
    return engine


def finish(engine):
    while engine.has_work:
        engine.step()
    assert not engine.scheduler.errors


def taken(engine):
    engine.scheduler.recorder.close_all()
    lines = [workload_line(each) for each in engine.scheduler.recorder.take(10**6)]
    return [Arriving.model_validate_json(line) for line in lines]


def drained(engine):
    return json.loads(control(engine.scheduler, "drain", "{}"))["applications"]


# -- round trips -------------------------------------------------------------------------


def run_and_take(workload, server):
    """Run *workload* and return what the recorder has, by application."""
    simulate(workload, server, "justitia")
    recorder = server.schedulers[-1].recorder
    recorder.close_all()
    return {each["app_id"]: each for each in recorder.take(10**6)}


def recorded(taken, path):
    """Return the workload that the recorder's *taken* is, by way of its file."""
    with path.open("w") as file:
        file.writelines(f"{workload_line(each)}\n" for each in taken.values())
    sort_recording(path)
    return read_workload(path)


def spans_of(application):
    """Return when each sequence's prompt and output came and ended, by their lengths."""
    return sorted(
        (call.num_prompt_tokens, call.num_output_tokens, call.began_at, call.ended_at)
        for call in application["calls"]
    )


def each_sample(application):
    """Return (p, d) of every sequence."""
    return sorted(
        (call.prompt_tokens, call.output_tokens)
        for call in application.calls
        for _ in range(call.samples)
    )


@st.composite
def applications(draw, place):
    calls = []
    for number in range(draw(st.integers(1, 5))):
        after = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        calls.append(
            {
                "id": number,
                "after": sorted(after),
                "prompt_tokens": 20 + number,  # each knows its own in what was recorded
                "output_tokens": draw(st.integers(30, 120)),
                "samples": draw(st.sampled_from([1, 1, 1, 3])),
                # The first call comes at 0: arrivals are counted from there.
                "delay_s": draw(st.sampled_from([0.0, 0.0, 0.0317, 0.25])) if number else 0.0,
            }
        )
    arrival_s = 0.0 if not place else draw(st.floats(0, 1.5))
    return Arriving(app_id=f"a{place}", app_type="t", calls=calls, arrival_s=arrival_s)


@st.composite
def workloads(draw):
    made = [draw(applications(place)) for place in range(draw(st.integers(1, 5)))]
    return sorted(made, key=lambda each: each.arrival_s)


@pytest.mark.parametrize("overlap", [False, True], ids=["sync", "overlap"])
@given(workload=workloads())
@settings(max_examples=15, deadline=None)
def test_a_recording_runs_as_what_it_was_recorded_from(tmp_path_factory, overlap, workload):
    """Where memory is no matter: the same calls, and each comes and ends when it did."""
    path = tmp_path_factory.mktemp("recorded") / "recording.jsonl"
    server = WatchedServer(STEPS, ROOMY, overlap=overlap)
    first = run_and_take(workload, server)
    again = recorded(first, path)
    assert {each.app_id: each_sample(each) for each in again} == {
        each.app_id: each_sample(each) for each in workload
    }
    second = run_and_take(again, server)
    for app_id, application in first.items():
        for was, now in zip(spans_of(application), spans_of(second[app_id]), strict=True):
            assert now == pytest.approx(was, rel=0, abs=SOME_STEPS_S)


def test_a_recording_of_a_crowded_server_holds_the_same_applications(tmp_path):
    """With preemptions: every token, and calls only after those they waited for."""
    workload = [
        Arriving(
            app_id=f"a{index}", app_type=f"t{index % 3}", arrival_s=index * 0.01,
            tenant=f"key-{index % 2}", weight=1.0 + index % 2,
            calls=[
                {"id": 0, "prompt_tokens": 100 + 37 * index % 300, "output_tokens": 30},
                {"id": 1, "after": [0], "prompt_tokens": 60, "output_tokens": 40},
                {"id": 2, "after": [0], "prompt_tokens": 61, "output_tokens": 20},
                {"id": 3, "after": [1, 2], "prompt_tokens": 62, "output_tokens": 3},
            ],
        )
        for index in range(20)
    ]  # fmt: skip
    server = WatchedServer(STEPS, 40)
    taken = run_and_take(workload, server)
    assert sum(a.num_preemptions for a in server.schedulers[0].ledger.finished.values()) > 0
    again = {each.app_id: each for each in recorded(taken, tmp_path / "recording.jsonl")}
    for each in workload:
        found = again[each.app_id]
        assert (found.app_type, found.tenant, found.weight) == (
            each.app_type, each.tenant, each.weight,
        )  # fmt: skip
        assert each_sample(found) == each_sample(each)
        assert found.calls[3].after == [1, 2]
        assert {tuple(call.after) for call in found.calls[1:3]} == {(0,)}


def num_computed_of_prompts(server):
    return sum(n for _, _, _, _, chunks in server.schedulers[-1].step_log.take() for _, n in chunks)


def test_a_recorded_conversation_finds_in_the_cache_what_it_found(tmp_path):
    """With prefix caching; as many tokens of prompts are computed."""
    turns = [
        {"id": turn, "after": [turn - 1] if turn else [], "prompt_tokens": 100 * (turn + 1),
         "output_tokens": 5, "shared_prefix_tokens": 96 * (turn + 1), "prefix_scope": "app"}
        for turn in range(4)
    ]  # fmt: skip
    workload = [
        Arriving(app_id=f"a{index}", app_type="t", arrival_s=0.01 * index, calls=turns)
        for index in range(5)
    ]
    server = WatchedServer(STEPS, ROOMY, prefix_caching=True)
    again = recorded(run_and_take(workload, server), tmp_path / "recording.jsonl")
    first = num_computed_of_prompts(server)
    run_and_take(again, server)
    assert num_computed_of_prompts(server) == first < 5 * 1000 / 2


# -- what is taken down ------------------------------------------------------------------


def test_samples_of_one_prompt_are_one_call():
    """Named as vLLM names them; those of another length are a call of their own."""
    engine = recording_engine()
    for index, tokens in enumerate([5, 5, 7, 5]):
        engine.add(f"{index}_chatcmpl-x", prompt=20, num_output_tokens=tokens, extra_args=told())
    engine.add("chatcmpl-y", prompt=20, num_output_tokens=5, extra_args=told())
    finish(engine)
    (application,) = taken(engine)
    assert sorted((call.output_tokens, call.samples) for call in application.calls) == [
        (5, 1), (5, 3), (7, 1),
    ]  # fmt: skip
    assert all(not call.after for call in application.calls)


@pytest.mark.parametrize(
    ("request_id", "expected"),
    [("0_a-b_c", "a-b_c"), ("12_x", "x"), ("a_1", "a_1"), ("3", "3"), ("3_", "3_"), ("", "")],
)
def test_the_id_of_a_prompt(request_id, expected):
    """What stands behind the number of the sample."""
    assert prompt_id(request_id) == expected


def test_a_call_with_its_stage_and_what_was_told_of_its_application():
    """Type, tenant, weight; the default tenant is nobody."""
    engine = recording_engine()
    engine.add("r", prompt=20, num_output_tokens=5,
               extra_args=told(stage="plan", tenant="key-1", weight=2.0))  # fmt: skip
    engine.add("s", prompt=20, num_output_tokens=5, extra_args=told("b"))
    finish(engine)
    one, other = taken(engine)
    assert (one.app_type, one.tenant, one.weight) == ("t", "key-1", 2.0)
    assert one.calls[0].stage == "plan"
    assert (other.tenant, other.calls[0].stage) == ("", None)


def test_an_aborted_call_is_taken_down_with_what_it_produced():
    """One that produced nothing is left out, and with it an application of nothing else."""
    engine = recording_engine()
    engine.add("r", prompt=20, num_output_tokens=50, extra_args=told())
    for _ in range(4):
        engine.step()
    engine.add("s", prompt=20, num_output_tokens=50, extra_args=told())
    engine.add("t", prompt=20, num_output_tokens=50, extra_args=told("b"))
    for request_id in "rst":
        engine.abort(request_id)
    finish(engine)
    (application,) = taken(engine)
    assert [(call.prompt_tokens, call.output_tokens) for call in application.calls] == [(20, 4)]


def test_what_the_prefix_cache_had_is_a_shared_prefix():
    """Of the type, then of the application; whole blocks."""
    engine = recording_engine(prefix_caching=True)
    for app_id, ids in (("a", "12"), ("b", "3")):
        for each in ids:
            engine.add(each, prompt=[1] * 100, num_output_tokens=2, extra_args=told(app_id))
            finish(engine)
    first, second = taken(engine)
    assert [(c.shared_prefix_tokens, c.prefix_scope) for c in first.calls] == [
        (96, "app"), (96, "app"),
    ]  # fmt: skip
    assert [(c.shared_prefix_tokens, c.prefix_scope) for c in second.calls] == [(96, "type")]


def test_a_preempted_call_does_not_share_with_itself():
    """What it hits when it resumes is its own."""
    engine = OfflineEngine(
        OfflineOptions(40, prefix_caching=True, max_num_batched_tokens=2048),
        Settings(record="unused"),
    )
    for index in range(8):
        prompt = [index + 1] * 64
        engine.add(f"r{index}", prompt=prompt, num_output_tokens=60, extra_args=told(f"a{index}"))
    requests = list(engine.scheduler.requests.values())
    finish(engine)
    assert sum(request.num_preemptions for request in requests) > 0
    assert all(not call.shared_prefix_tokens for each in taken(engine) for call in each.calls)


# -- when applications end ---------------------------------------------------------------


def test_an_application_is_there_when_its_last_call_has_ended():
    """It said so; another that goes on is not."""
    engine = recording_engine()
    engine.add("r", prompt=20, num_output_tokens=5, extra_args=told("a", last=True))
    engine.add("s", prompt=20, num_output_tokens=5, extra_args=told("b"))
    finish(engine)
    assert [each["app_id"] for each in drained(engine)] == ["a"]
    assert drained(engine) == []


def test_a_call_without_hints_is_an_application_that_ends_with_it():
    """Completed or not."""
    engine = recording_engine()
    engine.add("r", prompt=20, num_output_tokens=5)
    finish(engine)
    (application,) = drained(engine)
    assert application["app_type"] == "unhinted"


def test_an_application_that_is_finished_or_idle_too_long_is_there():
    """Over the control call."""
    engine = recording_engine()
    scheduler = engine.scheduler
    for app_id in "ab":
        engine.add(app_id, prompt=20, num_output_tokens=5, extra_args=told(app_id))
    finish(engine)
    control(scheduler, "finish", '{"app_id": "a"}')
    assert [each["app_id"] for each in drained(engine)] == ["a"]
    later = scheduler.clock() + scheduler.settings.idle_timeout_s + 1
    scheduler.clock = lambda: later
    control(scheduler, "poll", '{"after_seq": 0}')
    assert [each["app_id"] for each in drained(engine)] == ["b"]


def test_an_application_finished_while_it_runs_is_there_with_its_last_call():
    """Not before."""
    engine = recording_engine()
    engine.add("r", prompt=20, num_output_tokens=5, extra_args=told("a"))
    engine.step()
    control(engine.scheduler, "finish", '{"app_id": "a"}')
    assert drained(engine) == []
    finish(engine)
    assert len(drained(engine)) == 1


def test_late_calls_of_an_application_are_one_of_their_own(tmp_path):
    """Told apart by the sort."""
    engine = recording_engine()
    for each in "rs":
        engine.add(each, prompt=20, num_output_tokens=5, extra_args=told("a", last=True))
        finish(engine)
    path = tmp_path / "recording.jsonl"
    path.write_text("".join(f"{workload_line(each)}\n" for each in drained(engine)))
    result = CliRunner().invoke(app, ["workload", "sort", str(path)], catch_exceptions=False)
    assert "2 applications, by arrival" in result.stdout
    assert [each.app_id for each in read_workload(path)] == ["a", "a+2"]


def test_the_engine_writes_the_rest_as_it_ends(tmp_path):
    """Applications that have not ended, and calls that were cut off."""
    path = tmp_path / "recording.jsonl"
    engine = OfflineEngine(OfflineOptions(400), Settings(record=str(path)))
    engine.add("r", prompt=20, num_output_tokens=5, extra_args=told("a"))
    finish(engine)
    engine.add("s", prompt=20, num_output_tokens=50, extra_args=told("a"))
    engine.step()
    engine.abort("s")
    engine.scheduler.shutdown()
    sort_recording(path)
    (application,) = read_workload(path)
    assert [(call.output_tokens, call.after) for call in application.calls] == [(5, []), (1, [0])]


# -- memory ------------------------------------------------------------------------------


def test_an_application_of_very_many_calls_is_taken_down_in_parts():
    """Each an application of its own; nothing is lost."""
    engine = recording_engine()
    engine.scheduler.recorder = Recorder(most_calls_each=4)
    for index in range(10):
        engine.add(f"r{index}", prompt=20, num_output_tokens=3, extra_args=told("a"))
        finish(engine)
    assert [len(each["calls"]) for each in drained(engine)] == [4, 4]
    assert [len(each.calls) for each in taken(engine)] == [2]


def test_of_very_many_applications_the_oldest_is_taken_down(monkeypatch):
    """Before it has ended; what nobody fetches is lost, the oldest first, and counted."""
    monkeypatch.setattr("justitia_server.engine.recorder.MOST_CALLS_OPEN", 3)
    monkeypatch.setattr("justitia_server.engine.recorder.MOST_CALLS_ENDED", 2)
    engine = recording_engine()
    for index in range(7):
        engine.add(f"r{index}", prompt=20, num_output_tokens=3, extra_args=told(f"a{index}"))
        finish(engine)
    recorder = engine.scheduler.recorder
    assert (len(recorder), recorder.take_num_lost()) == (2, 2)
    assert [each["app_id"] for each in drained(engine)] == ["a2", "a3"]


def test_some_are_taken_at_a_time():
    """Whole applications, those that ended first; the rest is there the next time."""
    engine = recording_engine()
    for index in range(5):
        engine.add(f"r{index}", prompt=20, num_output_tokens=3)
    finish(engine)
    recorder = engine.scheduler.recorder
    assert [len(recorder.take(2)) for _ in range(4)] == [2, 2, 1, 0]


def test_nothing_is_kept_of_calls_that_have_ended():
    """But what is to be fetched."""
    engine = recording_engine(prefix_caching=True)
    for index in range(20):
        engine.add(f"r{index}", prompt=[1] * 40, num_output_tokens=1 + index)
    engine.step()
    engine.abort("r3")
    finish(engine)
    recorder = engine.scheduler.recorder
    assert (recorder._began, recorder._cached, recorder._open) == ({}, {}, {})
    assert recorder._num_calls_open == 0
