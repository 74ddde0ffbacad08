"""Training: when it is due, what goes live, and the process that does it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.examples import METHOD, example, read

from justitia_server.prediction.base import Standing
from justitia_server.prediction.store import Store
from justitia_server.prediction.training import (
    Method,
    Report,
    forget_last_run,
    is_due,
    last_run,
    only_one,
    train_if_better,
)
from justitia_server.prediction.versions import Versions

MODULE = "justitia_server.prediction.training"
AUTOGROUP = Path("/proc/self/autogroup")
TYPICAL = Standing(9, math.log(200.0), 1.0)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path, now=0.0) as opened:
        yield opened


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path)


def add(store, factors):
    """Store applications that cost *factors* times their prompts, or, if None, their median."""
    store.add(
        [
            replace(example(factor * prompt if factor else 200.0, prompt=prompt), standing=TYPICAL)
            for place, factor in enumerate(factors)
            for prompt in [10 * 3 ** (place % 5)]
        ],
        now=0.0,
    )


def train(store, versions, **more) -> Report:
    return train_if_better(store, versions, **{"seed": 1, "now": 7.0, "method": METHOD} | more)


def live_factor(versions):
    return versions.load(read)[1].factor


def test_the_newest_fifth_is_held_back(store, versions):
    """What goes live has seen only the others, and is what was tried on the fifth."""
    add(store, [2.0] * 40 + [2.2] * 10)
    report = train(store, versions)
    assert (report.outcome, report.num_examples, report.num_held_back) == ("better", 50, 10)
    assert live_factor(versions) == pytest.approx(2.0)
    assert report.log_rmse == pytest.approx(math.log(1.1))
    facts = versions.current().facts
    assert (facts.num_examples, facts.newest_id, facts.trained_at) == (40, 40, 7.0)
    assert facts.log_rmse == report.log_rmse


def test_a_model_worse_than_the_median_does_not_go_live(store, versions):
    """However good it was on what it has seen."""
    add(store, [2.0] * 40 + [None] * 10)
    report = train(store, versions)
    assert report.outcome == "not_better"
    assert report.log_rmse > report.median_log_rmse
    assert versions.current_number is None


def test_a_model_worse_than_the_live_one_does_not_go_live(store, versions):
    """They are compared on the same applications."""
    add(store, [3.0] * 20)
    train(store, versions)
    add(store, [2.0] * 20 + [3.0] * 10)
    report = train(store, versions)
    assert report.outcome == "not_better"
    assert report.current_log_rmse == pytest.approx(0.0, abs=1e-9)
    assert report.median_log_rmse > report.log_rmse > 0.1
    assert (versions.current_number, live_factor(versions)) == (1, pytest.approx(3.0))


def test_a_better_model_takes_over(store, versions):
    """Once the world has changed for good."""
    add(store, [3.0] * 20)
    train(store, versions)
    add(store, [2.0] * 200)
    report = train(store, versions)
    assert report.outcome == "better"
    assert report.current_log_rmse > report.log_rmse
    assert versions.current_number == 2


def test_a_live_version_that_cannot_be_read_is_no_rival(store, versions):
    """It is set aside, and the new one goes live."""
    add(store, [3.0] * 20)
    train(store, versions)
    (versions.folder / "model-000001.bin").write_bytes(b"damaged")
    assert train(store, versions).current_log_rmse is None
    assert versions.current_number == 2


def test_a_new_version_can_be_forced(store, versions):
    """By a person who knows better; the outcome says so."""
    add(store, [2.0] * 40 + [None] * 10)
    report = train(store, versions, always=True)
    assert (report.outcome, report.version, versions.current_number) == ("forced", 1, 1)


def test_too_few_examples_teach_nothing(store, versions):
    """Nothing is trained."""
    add(store, [2.0] * 9)
    broken = Method(lambda *_: pytest.fail("trained"), read)
    assert train(store, versions, method=broken).outcome == "too_few"


def test_when_training_is_due(store, versions):
    """First at 20 examples, then at a quarter more, ten at least; also when none went live."""
    add(store, [2.0] * 19)
    assert not is_due(store)
    add(store, [2.0])
    assert is_due(store)
    train(store, versions)
    add(store, [2.0] * 9)
    assert not is_due(store)
    add(store, [2.0] * 71)
    assert is_due(store)
    train(store, versions)
    assert last_run(store.folder).num_examples == 100
    add(store, [2.0] * 24)
    assert not is_due(store)
    add(store, [2.0])
    assert is_due(store)


def test_a_run_that_crashes_is_not_repeated_at_once(store, versions):
    """Else a server would train for ever on examples that break it."""
    add(store, [2.0] * 20)
    with pytest.raises(ZeroDivisionError):
        train(store, versions, method=Method(lambda *_: 1 / 0, read))
    assert not is_due(store)
    forget_last_run(store.folder)
    assert is_due(store)


@pytest.mark.parametrize("told", ["", "{", "[]", '{"newest_id": 1, "more": 2}'])
def test_a_damaged_note_of_the_last_run_means_none(store, told):
    """Training is due then, at worst too early."""
    (store.folder / "training.json").write_text(told)
    assert last_run(store.folder).num_examples == 0


def test_one_process_at_a_time(tmp_path):
    """The second is told so, and waits for nothing."""
    with only_one(tmp_path) as first, only_one(tmp_path) as second:
        assert (first, second) == (True, False)
    with only_one(tmp_path) as again:
        assert again


def start(folder, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def test_a_process_of_its_own_trains_once(store, versions):
    """It prints the report; asked again without new examples it does nothing."""
    add(store, [2.0] * 40)
    outcomes = []
    for _ in range(2):
        with start(store.folder) as process:
            said = process.stdout.read()  # its standard input stays open
            assert process.wait() == 0, process.stderr.read()
        outcomes.append(json.loads(said)["outcome"])
    assert outcomes == ["better", "busy"]
    assert versions.current_number == 1


def test_the_process_loads_no_engine(tmp_path):
    """It would cost seconds and gigabytes."""
    code = f"import sys, {MODULE}, justitia_server.prediction.learned; print('vllm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_process_ends_with_whoever_started_it(store):
    """Also in the middle of training: its standard input ends, and so does it."""
    add(store, [2.0] * 40)
    code = (
        "import sys, time; sys.argv = ['x']\n"
        "import justitia_server.prediction.training as training\n"
        "training._train_once = lambda folder: time.sleep(60)\n"
        f"training.main([{str(store.folder)!r}])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        process.stdin.close()
        assert process.wait(timeout=30) == 1


def test_the_process_gives_way_to_serving(store):
    """It is nice, and uses one thread."""
    code = (
        "import os, sys, torch\n"
        "import justitia_server.prediction.training as training\n"
        "training.train_if_better = lambda *_, **__: training.Report(\n"
        "    'better', os.nice(0), torch.get_num_threads())\n"
        f"training.main([{str(store.folder)!r}])"
    )
    add(store, [2.0] * 40)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        told = json.loads(process.stdout.read())
    assert told["num_examples"] == min(os.nice(0) + 15, 19)
    assert told["num_held_back"] == 1


@pytest.mark.skipif(
    not (AUTOGROUP.is_file() and AUTOGROUP.read_text()), reason="there are no autogroups here"
)
@pytest.mark.parametrize("is_own", [True, False])
def test_a_session_of_its_own_is_nice_as_a_whole(store, is_own):
    """Nobody else's session is made so, such as that of the shell it is started from."""
    code = (
        "import justitia_server.prediction.training as training\n"
        "training._train_once = lambda folder: training.Report(training._AUTOGROUP.read_text())\n"
        f"training.main([{str(store.folder)!r}])"
    )
    before = AUTOGROUP.read_text().split()[-1]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=is_own,
    ) as process:
        told = json.loads(process.stdout.read())
    assert told["outcome"].split()[-1] == ("15" if is_own else before)
