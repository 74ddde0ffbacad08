"""`justitia predictor` on a folder, and on a workload file."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from support.examples import METHOD, Proportional, example, full_example
from typer.testing import CliRunner

from justitia_sdk.errors import ConfigurationError
from justitia_server.cli import app
from justitia_server.fairness.cost import call_cost
from justitia_server.prediction import training
from justitia_server.prediction.base import Standing
from justitia_server.prediction.store import Store
from justitia_server.prediction.versions import Facts, Versions
from justitia_server.simulation.examples import examples_of
from justitia_server.simulation.workload import Arriving, write_workload

FACTS = Facts(0.0, 80, 0, 20, 0.4, 0.6, "kv_token_time")


@pytest.fixture(autouse=True)
def quick_method(monkeypatch):
    """Models that learn in no time."""
    monkeypatch.setattr(training, "neural", lambda cost_model: METHOD)
    monkeypatch.setattr(training, "use_one_thread", lambda: None)


@pytest.fixture
def folder(tmp_path):
    """A store with sixty examples that a model can learn and a median cannot."""
    path = tmp_path / "learned"
    known = Standing(9, math.log(200.0), 1.0)
    told = [replace(example(2.0 * 3**n, prompt=3**n), standing=known) for n in range(1, 7)] * 10
    with Store.open(path, now=0.0) as store:
        store.add(told, now=0.0)
    return path


@pytest.fixture
def workload(tmp_path):
    """A file of twenty applications in two waves."""
    path = tmp_path / "workload.jsonl"
    applications = [
        Arriving(
            app_id=f"a{n}", app_type="t", arrival_s=float(n), input_text=f"text {n}",
            plan=[{"name": "map", "calls": 2}],
            calls=[
                {"id": 0, "prompt_tokens": 10 + n, "output_tokens": 5, "samples": 2},
                {"id": 1, "prompt_tokens": 20, "output_tokens": 3, "after": [0]},
            ],
        )
        for n in range(20)
    ]  # fmt: skip
    write_workload(path, applications)
    return path


def run(*words, answer=None):
    done = CliRunner().invoke(
        app, ["predictor", *map(str, words)], input=answer, catch_exceptions=False
    )
    return done.stdout


def publish(folder, *factors):
    for factor in factors:
        Versions(folder).publish(Proportional(factor).to_bytes(), FACTS)


def test_training_makes_a_better_version_live(folder):
    """And says how much better; without new examples another is not."""
    said = run("train", "--store", folder)
    assert "Learned from 48 applications, tried on the 12 after them." in said
    assert "Version 1 is live." in said
    assert "Not better" in run("train", "--store", folder)
    assert "Version 2 is live." in run("train", "--store", folder, "--anyway")


def test_training_on_a_workload_file_fills_a_folder(workload, tmp_path):
    """That a server may begin with."""
    said = run("train", "--workload", workload, "--store", tmp_path / "new", "--anyway")
    assert "Learned from 16 applications" in said
    assert Versions(tmp_path / "new").current().facts.newest_id == 0


def test_while_another_process_trains_nobody_else_does(folder):
    """It is said, and nothing is waited for."""
    with training.only_one(folder), pytest.raises(ConfigurationError, match="another process"):
        run("train", "--store", folder)


def test_evaluation_names_every_type(folder, tmp_path):
    """With errors, order and intervals, and a picture."""
    said = run("eval", "--store", folder, "--plot", tmp_path / "plot.png")
    assert "learned from 48, tried on the 12 after them" in said
    rows = [line.replace("│", " ").split() for line in said.splitlines() if "│" in line]
    assert rows[0][:7] == ["t", "12", "0%", "0.000", "1.00", "100%", "-"]
    assert rows[1][0] == "all"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_evaluation_of_a_workload_knows_its_courses(workload):
    """What is said after the first finished call is graded, too."""
    row = run("eval", "--workload", workload).splitlines()
    (row,) = (line.replace("│", " ").split() for line in row if "│ t " in line)
    assert row[:2] == ["t", "4"]
    assert float(row[6]) >= 0


def test_the_live_version_is_tried_on_what_it_has_not_seen(folder):
    """Which a version that was trained here leaves for it."""
    run("train", "--store", folder)
    assert "version 1, tried on 12 it has not seen" in run("eval", "--store", folder, "--live")


def test_what_is_there_is_shown(folder):
    """Versions with their errors, the live one marked; examples by type."""
    publish(folder, 1.0, 2.0)
    Versions(folder).roll_back()
    said = run("show", "--store", folder)
    assert "1 (live)" in said
    assert "2 (live)" not in said
    assert "60 examples, costs in kv_token_time" in said


def test_an_empty_start_is_shown(folder):
    """Examples, and no version."""
    assert "No version has been trained yet." in run("show", "--store", folder)


def test_rolling_back(folder):
    """To the version before, or to one that is named."""
    publish(folder, 1.0, 2.0, 3.0)
    assert run("rollback", "--store", folder) == "Version 2 is live.\n"
    assert run("rollback", "--store", folder, "--to", 3) == "Version 3 is live.\n"
    assert Versions(folder).current_number == 3


def test_examples_are_exported_without_their_text(tmp_path):
    """Unless it is stored, and asked for."""
    with Store.open(tmp_path, now=0.0, keep_text=True) as store:
        store.add([full_example(text="a secret")], now=0.0)
    (line,) = run("export", "--store", tmp_path).splitlines()
    told = json.loads(line)
    assert told["question"]["input_text"] is None
    assert (told["cost"], told["question"]["app_type"], told["id"]) == (100.0, "t", 1)
    assert "1 examples" in run("export", "--store", tmp_path, "--with-text", tmp_path / "out.jsonl")
    told = json.loads((tmp_path / "out.jsonl").read_text())
    assert told["question"]["input_text"] == "a secret"


def test_reset_asks_first(folder):
    """Anything but yes leaves all as it was."""
    publish(folder, 1.0)
    CliRunner().invoke(app, ["predictor", "reset", "--store", str(folder)], input="n\n")
    assert "60 examples" in run("show", "--store", folder)
    said = run("reset", "--store", folder, answer="y\n")
    assert "Removed 1 versions and 60 examples." in said
    with Store.open_to_read(folder) as store:
        assert len(store) == 0
    assert Versions(folder).current_number is None


def test_reset_removes_what_was_set_aside(folder):
    """It may hold texts."""
    (folder / "examples.db").write_bytes(b"damaged" * 1000)
    Store.open(folder, now=0.0).close()
    assert list(folder.glob("*.corrupt-*"))
    run("reset", "--store", folder, "--yes")
    assert not list(folder.glob("*.corrupt-*"))


def test_reset_can_keep_the_examples(folder):
    """To learn from them anew."""
    publish(folder, 1.0)
    assert "1 versions and 0 examples" in run(
        "reset", "--store", folder, "--yes", "--keep-examples"
    )
    assert "60 examples" in run("show", "--store", folder)


def test_the_only_folder_there_is_need_not_be_named(tmp_path, monkeypatch):
    """One of several must be."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="no server has learned anything"):
        run("show")
    for name in ("one", "two"):
        with Store.open(tmp_path / "justitia" / "predictor" / name, now=0.0) as store:
            store.add([example()], now=0.0)
        if name == "one":
            assert "1 examples" in run("show")
    with pytest.raises(ConfigurationError, match=r"choose one with --store: .*one, .*two"):
        run("show")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "--store", "nowhere"), "there is nothing of a predictor in nowhere"),
        (("rollback", "--store", "nowhere"), "there is no version in nowhere"),
        (("export", "--store", "nowhere"), r"it has no examples\.db"),
        (("reset", "--store", "nowhere", "--yes"), "there is no folder nowhere"),
        (("reset", "--store", "tests", "--yes"), "there is nothing of a predictor in tests"),
        (("train", "--store", "nowhere"), r"it has no examples\.db"),
        (("train", "--workload", "w.jsonl"), "say where the version is to go: --store DIR"),
        (("eval", "--workload", "missing.jsonl"), r"missing\.jsonl cannot be read"),
        (("eval", "--store", "FOLDER", "--live"), "no version is live in"),
        (("eval", "--store", "FOLDER", "--plot", "pyproject.toml/x.png"), "cannot write into"),
        (("rollback", "--store", "FOLDER"), "none was trained yet"),
        (("export", "--store", "FOLDER", "--with-text"), "serve with --keep-input-text"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(words, said, folder):
    """That names what is wrong, and what to do."""
    words = [str(folder) if word == "FOLDER" else word for word in words]
    with pytest.raises(ConfigurationError, match=said):
        run(*words)


@pytest.mark.parametrize("command", ["train", "eval", "export", "show"])
def test_a_damaged_store_is_said_to_be_damaged(folder, command):
    """Nobody but a server sets it aside."""
    raw = (folder / "examples.db").read_bytes()
    (folder / "examples.db").write_bytes(raw[:4_096] + b"x" * (len(raw) - 4_096))
    with pytest.raises(ConfigurationError, match=r"examples.* cannot be read: .*malformed"):
        run(command, "--store", folder)


@pytest.mark.parametrize("command", ["train", "eval"])
def test_too_few_applications_are_refused(tmp_path, command):
    """With their number."""
    with Store.open(tmp_path, now=0.0) as store:
        store.add([example()] * 9, now=0.0)
    with pytest.raises(ConfigurationError, match=r"there are 9 .* too few .* 10 are needed"):
        run(command, "--store", tmp_path)


def test_examples_of_a_workload(workload):
    """Costs, standing and course as in a server where each had run alone."""
    from justitia_server.simulation.workload import read_workload

    first, second, *_ = examples_of(read_workload(workload))
    cost = 2 * call_cost(10, 5) + call_cost(20, 3)
    assert (first.cost, first.standing.num_seen, second.standing.num_seen) == (cost, 0, 1)
    assert second.standing.log_median == pytest.approx(math.log(cost))
    assert (first.question.first_prompt_tokens, first.question.plan.stages[0].calls) == (10, 2)
    assert first.text.num_chars == len("text 0")
    assert [each.num_done for each in first.glimpses][:2] == [1, 2]
    assert second.ended_at == 1.0
