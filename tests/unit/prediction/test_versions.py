"""The versions of a model: which is live, whatever happens to the files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.examples import Proportional, read

from justitia_sdk.errors import ConfigurationError
from justitia_server.prediction import versions as versions_module
from justitia_server.prediction.versions import NUM_KEPT, Facts, Versions, write_whole

FACTS = Facts(5.0, 80, 90, 20, 0.4, 0.6, "kv_token_time")


@pytest.fixture
def versions(tmp_path):
    return Versions(tmp_path / "made when needed")


def publish(versions, *factors):
    for factor in factors:
        versions.publish(Proportional(factor).to_bytes(), FACTS)


def live_factor(versions):
    found = versions.load(read)
    return None if found is None else found[1].factor


def damage_model(folder: Path, number: int) -> None:
    path = folder / f"model-{number:06}.bin"
    path.write_bytes(path.read_bytes() + b"!")


def test_without_a_version_there_is_no_model(versions):
    """And no folder is made by asking."""
    assert (versions.current_number, versions.load(read), versions.all()) == (None, None, [])
    assert not versions.folder.exists()


def test_the_latest_published_is_live(versions):
    """With what is known of it."""
    publish(versions, 1.0, 2.0)
    version, model = versions.load(read)
    assert (version.number, model.factor, version.num_bytes) == (2, 2.0, 3)
    assert (version.facts.num_examples, version.facts.newest_id) == (80, 90)


@pytest.mark.parametrize("when", ["write", "fsync", "rename"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_crash_while_publishing_leaves_the_old_version(versions, monkeypatch, when, which):
    """Before the model, its facts, or the pointer to it was there."""
    publish(versions, 1.0)
    num_left = 2 * which if when == "fsync" else which  # of a file its bytes, then its name

    def crash():
        nonlocal num_left
        if not num_left:
            raise KeyboardInterrupt
        num_left -= 1

    if when == "write":
        monkeypatch.setattr(versions_module, "write_whole", _then_crash(which))
    elif when == "fsync":
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda handle: (real(handle), crash()))
    else:
        real_replace = Path.replace
        monkeypatch.setattr(Path, "replace", lambda a, b: (crash(), real_replace(a, b))[1])
    with pytest.raises(KeyboardInterrupt):
        publish(versions, 2.0)
    monkeypatch.undo()
    assert live_factor(versions) == 1.0
    publish(versions, 3.0)
    assert live_factor(versions) == 3.0


def _then_crash(num_before):
    """A writer that dies in the middle of a file, after so many whole ones."""
    num_left = num_before

    def write(path, told):
        nonlocal num_left
        if not num_left:
            path.with_name(f".{path.name}.1.tmp").write_bytes(told[:1])
            raise KeyboardInterrupt
        num_left -= 1
        write_whole(path, told)

    return write


def test_what_a_killed_writer_left_is_cleared_away(versions):
    """By the next one."""
    publish(versions, 1.0)
    (versions.folder / ".model-000002.bin.77.tmp").write_bytes(b"half")
    publish(versions, 2.0)
    assert not list(versions.folder.glob(".model*"))


@pytest.mark.parametrize(
    "damage", ["model", "model missing", "facts", "facts of another format", "reader"]
)
def test_a_damaged_version_is_set_aside_and_the_one_before_lives(versions, caplog, damage):
    """It is named in the log, and its number is not used again."""
    publish(versions, 1.0, 2.0)
    facts = versions.folder / "model-000002.json"
    if damage == "model":
        damage_model(versions.folder, 2)
    elif damage == "model missing":
        (versions.folder / "model-000002.bin").unlink()
    elif damage == "facts":
        facts.write_text("{")
    elif damage == "facts of another format":
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"format": 99}))
    else:
        versions.publish(b"no model at all", FACTS)
    assert live_factor(versions) == (2.0 if damage == "reader" else 1.0)
    assert "is set aside" in caplog.text
    assert any(path.name.endswith(".corrupt") for path in versions.folder.iterdir())
    assert versions.current_number == (2 if damage == "reader" else 1)
    publish(versions, 9.0)
    assert versions.current_number == (4 if damage == "reader" else 3)


def test_with_all_versions_damaged_the_start_is_cold(versions):
    """Nothing raises."""
    publish(versions, 1.0, 2.0)
    for number in (1, 2):
        damage_model(versions.folder, number)
    assert versions.load(read) is None


@pytest.mark.parametrize("said", [b"", b"\xff\xfe", b"model-x", b"../../etc/passwd"])
def test_a_pointer_that_says_nothing_means_the_newest(versions, said):
    """It is only ever a name of ours."""
    publish(versions, 1.0, 2.0)
    (versions.folder / "current").write_bytes(said)
    assert live_factor(versions) == 2.0


def test_rolling_back_goes_to_the_version_before(versions):
    """Or to the one that is named; what is published later is live again."""
    publish(versions, 1.0, 2.0, 3.0)
    assert versions.roll_back().number == 2
    assert live_factor(versions) == 2.0
    assert versions.roll_back(3).number == 3
    versions.roll_back(1)
    publish(versions, 4.0)
    assert (versions.current_number, live_factor(versions)) == (4, 4.0)


@pytest.mark.parametrize(
    ("number", "said"),
    [(None, "is older than the live one, 1"), (7, "there is no version 7 in .*; there are 1")],
)
def test_rolling_back_to_nowhere_is_refused(versions, number, said):
    """In one sentence."""
    with pytest.raises(ConfigurationError, match=r"none was trained yet"):
        versions.roll_back(number)
    publish(versions, 1.0)
    with pytest.raises(ConfigurationError, match=said):
        versions.roll_back(number)


def test_the_latest_few_are_kept_and_what_was_live(versions):
    """However old it is: somebody went back to it for a reason."""
    publish(versions, *range(1, 10))
    assert [each.number for each in versions.all()] == list(range(10 - NUM_KEPT, 10))
    versions.roll_back(5)
    publish(versions, 10.0)
    assert [each.number for each in versions.all()] == [5, 6, 7, 8, 9, 10]
    assert versions.roll_back(5).number == 5


def test_clearing_leaves_nothing(versions):
    """Neither versions nor what was set aside."""
    publish(versions, 1.0, 2.0)
    damage_model(versions.folder, 2)
    versions.load(read)
    assert versions.clear() == 1
    assert list(versions.folder.iterdir()) == []
    assert versions.load(read) is None
