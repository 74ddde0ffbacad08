"""Training in the background of the API process, with processes that only pretend."""

from __future__ import annotations

import asyncio
import sys
import time

import psutil
import pytest
from support.examples import METHOD, Proportional, example

from justitia_server.api import training as training_module
from justitia_server.api.metrics import EXAMPLES, MODEL_VERSION, TRAINING_RUNS
from justitia_server.api.training import Trainer, make_trainer
from justitia_server.engine.settings import Settings
from justitia_server.fairness.cost import COMPUTE, KV_TOKEN_TIME
from justitia_server.prediction.keeper import NUM_WAITING
from justitia_server.prediction.store import Store
from justitia_server.prediction.training import train_if_better
from justitia_server.prediction.versions import Facts, Versions

FACTS = Facts(5.0, 80, 90, 20, 0.4, 0.6, KV_TOKEN_TIME.name)


class EngineClient:
    def __init__(self):
        self.shutdowns = []

    def shutdown(self, timeout=None):
        self.shutdowns.append(timeout)


@pytest.fixture
async def started(tmp_path):
    """A trainer that looks when told, what it has put to use, and its engine client."""
    used, client = [], EngineClient()
    trainer = Trainer(
        tmp_path, KV_TOKEN_TIME, interval_s=60, rest_s=0, time_limit_s=20, method=METHOD
    )
    await trainer.start(client, used.append)
    yield trainer, used, client
    trainer.stop()


def pretend(monkeypatch, code):
    monkeypatch.setattr(training_module, "_COMMAND", (sys.executable, "-c", code))


def fill(folder, number=40):
    with Store.open(folder, now=0.0) as store:
        now = time.time()
        prompts = range(1, number + 1)
        store.add([example(2.0 * each, prompt=each, ended_at=now) for each in prompts], now=now)


def runs(outcome) -> float:
    return TRAINING_RUNS.labels(outcome)._value.get()


async def test_the_live_version_is_put_to_use_at_the_start(tmp_path):
    """Before the first call is served."""
    Versions(tmp_path).publish(Proportional(4.0).to_bytes(), FACTS)
    used = []
    trainer = Trainer(tmp_path, KV_TOKEN_TIME, method=METHOD)
    await trainer.start(EngineClient(), used.append)
    trainer.stop()
    assert used == [Proportional(4.0)]
    assert MODEL_VERSION._value.get() == 1


async def test_a_version_made_live_by_others_is_put_to_use(started, tmp_path):
    """As by another API process or a roll-back; none live means none used."""
    trainer, used, _ = started
    versions = Versions(tmp_path)
    for factor in (1.0, 2.0):
        versions.publish(Proportional(factor).to_bytes(), FACTS)
        await trainer.look()
    versions.roll_back()
    await trainer.look()
    await trainer.look()
    versions.clear()
    await trainer.look()
    assert used == [Proportional(1.0), Proportional(2.0), Proportional(1.0), None]


async def test_enough_examples_start_a_training_process(started, tmp_path, monkeypatch):
    """Its version is used at once; the run is counted; without new examples none follows."""
    trainer, used, _ = started
    fill(tmp_path)
    code = (
        "import sys; from pathlib import Path\n"
        "from justitia_server.prediction import training\n"
        "from support.examples import METHOD\n"
        "training.neural = lambda cost_model: METHOD\n"
        "sys.exit(training.main(sys.argv[1:]))"
    )
    monkeypatch.setenv("PYTHONPATH", "tests")
    pretend(monkeypatch, code)
    before = runs("better")
    await trainer.look()
    await trainer.look()
    assert (len(used), runs("better") - before) == (1, 1)
    assert used[0].factor == pytest.approx(2.0)


async def test_too_few_examples_start_none(started, tmp_path, monkeypatch):
    """Nor does a folder without any."""
    trainer, _, _ = started
    pretend(monkeypatch, "raise SystemExit('started')")
    before = runs("failed")
    await trainer.look()
    fill(tmp_path, 19)
    await trainer.look()
    assert runs("failed") == before


async def test_between_two_runs_there_is_rest(tmp_path, monkeypatch):
    """However many applications end."""
    with Store.open(tmp_path, now=0.0) as store:
        train_if_better(store, Versions(tmp_path), seed=1, now=time.time(), method=METHOD)
    fill(tmp_path)
    pretend(monkeypatch, "raise SystemExit('started')")
    trainer = Trainer(tmp_path, KV_TOKEN_TIME, rest_s=600, method=METHOD)
    before = runs("failed")
    await trainer.look()
    assert runs("failed") == before


async def test_a_training_process_that_fails_is_counted(started, tmp_path, monkeypatch, caplog):
    """Its last words are logged once, and serving goes on."""
    trainer, used, _ = started
    fill(tmp_path)
    pretend(monkeypatch, "raise MemoryError('no room')")
    before = runs("failed")
    await trainer.look()
    await trainer.look()
    assert (used, runs("failed") - before) == ([], 2)
    assert caplog.text.count("training failed: MemoryError: no room") == 1


async def test_a_training_process_that_takes_too_long_is_ended(tmp_path, monkeypatch, caplog):
    """It is killed, and counted."""
    fill(tmp_path)
    pretend(monkeypatch, "import time; time.sleep(60)")
    trainer = Trainer(tmp_path, KV_TOKEN_TIME, rest_s=0, time_limit_s=0.3, method=METHOD)
    before = runs("timeout")
    await trainer.look()
    assert runs("timeout") - before == 1
    assert "more than 0.3 s" in caplog.text
    await gone(trainer)


async def test_shutting_down_ends_training_and_writes_examples(
    started, tmp_path, monkeypatch, caplog
):
    """Then the engine is shut down as it would have been."""
    trainer, _, client = started
    fill(tmp_path)
    pretend(monkeypatch, "import time; time.sleep(60)")
    looking = asyncio.create_task(trainer.look())
    while trainer._process is None:  # noqa: ASYNC110 (a test has no event of it)
        await asyncio.sleep(0.01)
    trainer.keep(example(ended_at=time.time()))
    client.shutdown(timeout=3.0)
    assert client.shutdowns == [3.0]
    await gone(trainer)
    with Store.open_to_read(tmp_path) as store:
        assert len(store) == 41
    await asyncio.wait_for(looking, 10)
    assert caplog.text == ""


async def gone(trainer):
    """Wait for the end of the training process, which has been killed."""
    process = trainer._process
    await asyncio.wait_for(process.wait(), 10)
    assert not psutil.pid_exists(process.pid) or psutil.Process(process.pid).status() == "zombie"


async def test_with_every_version_damaged_none_is_used(tmp_path, caplog):
    """The start is cold, and the metric says so."""
    Versions(tmp_path).publish(b"nothing", FACTS)
    used = []
    trainer = Trainer(tmp_path, KV_TOKEN_TIME, method=METHOD)
    await trainer.start(EngineClient(), used.append)
    trainer.stop()
    assert (used, MODEL_VERSION._value.get()) == ([None], 0)
    assert "is set aside" in caplog.text


async def test_a_version_of_another_unit_is_not_used(tmp_path, caplog):
    """Its predictions would mean something else."""
    Versions(tmp_path).publish(Proportional(4.0).to_bytes(), FACTS)
    used = []
    trainer = Trainer(tmp_path, COMPUTE, method=METHOD)
    await trainer.start(EngineClient(), used.append)
    trainer.stop()
    assert used == [None]
    assert MODEL_VERSION._value.get() == 0
    assert "give --predictor another folder" in caplog.text


def test_the_settings_say_whether_anything_is_learned(tmp_path):
    """Without a folder nothing is."""
    assert make_trainer(Settings(), KV_TOKEN_TIME) is None
    assert isinstance(make_trainer(Settings(predictor=str(tmp_path)), KV_TOKEN_TIME), Trainer)


async def test_examples_are_counted_once(tmp_path):
    """However often the counts are exported."""
    trainer = Trainer(tmp_path, KV_TOKEN_TIME, method=METHOD)
    dropped = EXAMPLES.labels("dropped")._value
    before = dropped.get()
    for _ in range(NUM_WAITING + 3):  # nobody writes: it has not been started
        trainer.keep(example())
    trainer._export_examples()
    trainer._export_examples()
    assert dropped.get() - before == 3
