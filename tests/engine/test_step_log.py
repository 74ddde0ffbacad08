"""The step log of a scheduler: shapes and times are those the simulator goes by."""

from dataclasses import astuple

import pytest
from support.watched import WatchedServer
from typer.testing import CliRunner

from justitia_sdk.errors import ConfigurationError
from justitia_server.cli import app
from justitia_server.engine.control import control
from justitia_server.engine.line_file import append_lines
from justitia_server.engine.offline import OfflineEngine, OfflineOptions
from justitia_server.engine.settings import Settings
from justitia_server.engine.step_log import HEADER, StepLog, csv_lines
from justitia_server.engine.step_shape import StepShape
from justitia_server.simulation.fitting import fit_step_time
from justitia_server.simulation.logged_steps import read_step_logs
from justitia_server.simulation.run import simulate
from justitia_server.simulation.step_time import StepTime, read_step_time
from justitia_server.simulation.workload import Arriving

pytestmark = pytest.mark.engine

CPU = StepTime(2.0, 0.05, 2e-5, 3.0, 0.02, 1e-6)  # e above a
GPU = StepTime(11.9, 0.02, 3.7e-4, 5.5, 0.05, 1.6e-6)  # e below a
OPTIONS = [OfflineOptions(200, overlap=overlap) for overlap in (False, True)]
both_ways = pytest.mark.parametrize("overlap", [False, True], ids=["sync", "overlap"])


class Steps:
    """An engine whose clock stands still but for what a test says."""

    def __init__(self, *, overlap):
        self.now = 100.0
        self.engine = OfflineEngine(
            OfflineOptions(200, overlap=overlap), Settings(step_log="unused")
        )
        self.engine.scheduler.clock = lambda: self.now
        self.log = self.engine.scheduler.step_log = StepLog()

    def process(self, seconds):
        self.now += seconds
        self.engine.process()

    def took(self):
        return [round(entry[1], 6) for entry in self.log.take()]


def lone_calls(number, at):
    """One at a time, so that prompts are computed while nothing decodes."""
    return [
        Arriving(
            app_id=f"alone{index}", app_type="t", arrival_s=at + 30.0 * index,
            calls=[{"id": 0, "prompt_tokens": 20 + 97 * index % 900, "output_tokens": 3}],
        )
        for index in range(number)
    ]  # fmt: skip


def traffic():
    """Few calls at a time and many, short prompts and long ones, and some alone."""
    crowd = [
        Arriving(
            app_id=f"a{index}", app_type="t", arrival_s=index * 0.05,
            calls=[
                {"id": 0, "prompt_tokens": 30 + 131 * index % 1500, "output_tokens": 20},
                {"id": 1, "after": [0], "prompt_tokens": 60, "output_tokens": 8 + 17 * index % 60,
                 "samples": 1 + index % 3},
            ],
        )
        for index in range(60)
    ]  # fmt: skip
    return [*crowd, *lone_calls(20, at=60.0)]


@both_ways
@pytest.mark.parametrize("planted", [CPU, GPU], ids=["e above a", "e below a"])
def test_what_a_simulator_logs_gives_its_own_constants_back(planted, overlap, tmp_path):
    """With prompts in chunks and preemptions; through the file."""
    server = WatchedServer(planted, 400, max_num_batched_tokens=512, overlap=overlap)
    run = simulate(traffic(), server, "justitia")
    path = tmp_path / "steps.csv"
    steps = server.schedulers[0].step_log.take(10**6)
    append_lines(path, csv_lines(steps), header=HEADER)
    assert len(steps) == run.num_iterations
    assert sum(took for _, took, *_ in steps) == pytest.approx(run.busy_s)
    found = fit_step_time(read_step_logs([path]))
    assert astuple(found.constants) == pytest.approx(astuple(planted), rel=1e-3, abs=1e-8)
    assert found.prefill.median_error < 1e-4


@both_ways
def test_shapes_are_those_of_the_simulator(overlap):
    """Step by step the same B, K and chunks."""
    engine = OfflineEngine(
        OfflineOptions(60, max_num_batched_tokens=256, overlap=overlap),
        Settings(step_log="unused"),
    )
    for index in range(20):
        engine.add(f"r{index}", prompt=37 + 41 * index % 300, num_output_tokens=5 + index)
    steps = []
    while engine.has_work:
        if (step := engine.step()) is not None:
            steps.append((step.num_decoding, step.num_kv_tokens, step.chunks))
    assert [tuple(entry[2:]) for entry in engine.scheduler.step_log.take()] == steps
    assert not engine.scheduler.errors


def test_a_step_counts_from_the_call_that_woke_the_engine():
    """Ten seconds of nothing are nobody's; scheduling and waiting for the output are the step's."""
    steps = Steps(overlap=False)
    for _ in range(2):
        steps.now += 10
        steps.engine.add("r", prompt=10, num_output_tokens=2)
        steps.now += 0.001
        steps.engine.schedule()
        steps.process(0.004)
        steps.now += 0.002  # others come, the loop goes round: still the next step's
        steps.engine.schedule()
        steps.process(0.003)
        steps.engine.schedule()  # nothing is left: vLLM asks all the same
    assert steps.took() == [0.005, 0.005] * 2


def test_a_step_scheduled_ahead_counts_from_the_end_of_the_one_before():
    """It waits while that is computed, which is not its own time."""
    steps = Steps(overlap=True)
    steps.engine.add("r", prompt=10, num_output_tokens=3)
    steps.engine.schedule()
    steps.engine.schedule()
    steps.process(0.004)
    steps.engine.schedule()
    steps.process(0.003)
    steps.process(0.002)
    assert steps.took() == [0.004, 0.003, 0.002]


def test_an_engine_that_waits_for_something_else_does_not_count_it():
    """A step that computed nothing: time up to it is nobody's."""
    log = StepLog()
    log.wake(1.0)
    log.rest(3.0)
    log.plan(StepShape(1, 50, []))
    log.end(3.5, has_more=True)
    assert log.take() == [(3.5, 0.5, 1, 50, [])]


def test_what_nobody_fetches_is_lost_oldest_first_and_counted():
    """The buffer is bounded."""
    log = StepLog(num_kept=3)
    for index in range(5):
        log.plan(StepShape(index, 0, []))
        log.end(float(index), has_more=True)
    assert (len(log), log.take_num_lost(), log.take_num_lost()) == (3, 2, 0)
    assert [entry[2] for entry in log.take(2)] == [2, 3]
    assert [entry[2] for entry in log.take(2)] == [4]


def test_nothing_is_logged_where_nobody_asks():
    """The default."""
    engine = OfflineEngine(OPTIONS[0])
    assert engine.scheduler.step_log is None
    assert engine.scheduler.recorder is None
    answer = control(engine.scheduler, "drain", "{}")
    assert answer == '{"steps": [], "applications": [], "lost": {}, "has_more": false}'


def test_the_control_call_drains_the_log():
    """Each step once."""
    engine = OfflineEngine(OPTIONS[0], Settings(step_log="unused"))
    engine.add("r", prompt=10, num_output_tokens=3)
    while engine.has_work:
        engine.step()
    first, second = (control(engine.scheduler, "drain", "{}") for _ in range(2))
    assert first.count("[[0, 10]]") == 1
    assert '"steps": []' not in first
    assert '"steps": []' in second


def test_the_engine_writes_the_rest_as_it_ends(tmp_path):
    """What nobody has fetched."""
    path = tmp_path / "steps.csv"
    engine = OfflineEngine(OPTIONS[0], Settings(step_log=str(path)))
    engine.add("r", prompt=10, num_output_tokens=3)
    while engine.has_work:
        engine.step()
    engine.scheduler.shutdown()
    header, first, *others = path.read_text().splitlines()
    assert header == HEADER
    assert first.endswith(",0,0,0+10")
    assert [line.split(",")[2:] for line in others] == [["1", "11", ""], ["1", "12", ""]]


def test_a_log_that_fails_stops_nothing():
    """It is reported, and calls are served."""
    engine = OfflineEngine(OPTIONS[0], Settings(step_log="unused"))
    engine.scheduler.step_log.plan = None
    engine.add("r", prompt=10, num_output_tokens=3)
    delivered = 0
    while engine.has_work:
        delivered += sum(engine.step().delivered.values())
    assert delivered == 3
    assert set(engine.scheduler.errors) == {"_plan_step:TypeError", "_log_step:IndexError"}


# -- the command -------------------------------------------------------------------------


def justitia(*words):
    """Run the command in this process; a refusal is raised, as `main` would print it."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_step_time_fit_writes_a_table_to_simulate_with(tmp_path):
    """It says how well it fits, and how to go on."""
    server = WatchedServer(GPU, 400)
    simulate(traffic(), server, "fcfs")
    log, table = tmp_path / "steps.csv", tmp_path / "table.json"
    append_lines(log, csv_lines(server.schedulers[0].step_log.take(10**6)), header=HEADER)
    words = ("step-time", "fit", log, "--gpu", "Mine", "--model", "Toy", "--out", table)
    said = justitia(*words)
    assert "a = 11.9" in said
    assert "median error 0.0%, R² 1.000" in said
    assert f'justitia simulate --step-time "{table}:Mine/Toy"' in said
    assert "Replaced in" in justitia(*words)
    assert read_step_time(f"{table}:Mine/Toy").prefill_base_ms == pytest.approx(5.5, rel=1e-3)


def test_step_time_fit_refuses_before_it_reads(tmp_path):
    """A name, a table or a folder that will not do."""
    table = tmp_path / "table.json"
    table.write_text("nonsense")
    for model, out, said in (
        ("a:b", "t.json", "--model must be a name"),
        ("a", table, "is no table of step times"),
        ("a", "pyproject.toml/t.json", "cannot"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            justitia("step-time", "fit", "no.csv", "--gpu", "g", "--model", model, "--out", out)


def test_step_time_list_shows_what_ships():
    """By GPU and model."""
    said = justitia("step-time", "list")
    assert "A100-80GB SXM/Llama-2-7B" in said
    assert "11.86" in said
