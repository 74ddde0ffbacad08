"""Keeping examples off the hot path, whatever happens to the file."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time

import pytest
from support.examples import example

from justitia_server.prediction import keeper as keeper_module
from justitia_server.prediction.keeper import Keeper
from justitia_server.prediction.store import FILE_NAME, Store


@pytest.fixture
def keepers(tmp_path):
    """A function that makes keepers of one folder, quick ones; all are closed in the end."""
    made = []

    def make(**more):
        made.append(Keeper(tmp_path, **{"interval_s": 0.01, "clock": lambda: 0.0} | more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def num_in(folder) -> int:
    with Store.open_to_read(folder) as store:
        return len(store)


def wait_until(condition):
    give_up_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_what_is_kept_is_in_the_store_soon(keepers, tmp_path):
    """And counted."""
    keeper = keepers()
    keeper.start()
    for _ in range(3):
        keeper.keep(example())
    wait_until(lambda: keeper.num_stored == 3)
    assert num_in(tmp_path) == 3


def test_closing_writes_what_is_waiting(keepers, tmp_path):
    """A server that stops in order loses nothing."""
    keeper = keepers(interval_s=60.0)
    keeper.start()
    for _ in range(1_500):
        keeper.keep(example())
    keeper.close()
    assert num_in(tmp_path) == keeper.num_stored == 1_500


def test_with_the_queue_full_an_example_is_dropped(keepers):
    """At once, and counted: nobody waits."""
    keeper = keepers(num_waiting=2)
    for _ in range(5):
        keeper.keep(example())
    assert keeper.num_dropped == 3


def test_nothing_is_made_before_the_first_example(keepers, tmp_path):
    """A server that serves no applications leaves no file."""
    keeper = keepers()
    keeper.start()
    keeper.close()
    assert list(tmp_path.iterdir()) == []


def test_an_example_that_is_refused_is_counted(keepers):
    """As dropped."""
    keeper = keepers()
    keeper.start()
    keeper.keep(example(float("nan")))
    keeper.keep(example())
    wait_until(lambda: keeper.num_stored == 1)
    assert keeper.num_dropped == 1


def test_a_folder_that_cannot_be_written_costs_examples_only(tmp_path, caplog):
    """They are counted, a line says why, and it is not tried again at once."""
    (tmp_path / "file").write_text("")
    keeper = Keeper(tmp_path / "file" / "folder", interval_s=0.01, clock=lambda: 0.0)
    keeper.start()
    for number in range(1, 4):
        keeper.keep(example())
        wait_until(lambda: keeper.num_dropped == number)  # noqa: B023
    keeper.close()
    warnings = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert [each.getMessage().partition(":")[0] for each in warnings] == [
        f"examples cannot be kept in {tmp_path}/file/folder"
    ]


def test_it_is_tried_again_after_a_while(tmp_path, caplog):
    """The disk may have room again."""
    now = 0.0
    (tmp_path / "folder").write_text("in the way")
    keeper = Keeper(tmp_path / "folder", interval_s=0.01, clock=lambda: now)
    keeper.start()
    keeper.keep(example())
    wait_until(lambda: keeper.num_dropped == 1)
    (tmp_path / "folder").unlink()
    now = keeper_module.RETRY_S
    keeper.keep(example())
    wait_until(lambda: keeper.num_stored == 1)
    keeper.close()


def test_a_file_found_damaged_is_begun_anew(keepers, tmp_path, caplog, monkeypatch):
    """What comes after that is kept."""
    keeper = keepers()
    keeper.start()
    keeper.keep(example())
    wait_until(lambda: keeper.num_stored == 1)
    with monkeypatch.context() as damaged:
        damaged.setattr(Store, "add", _find_damage)
        keeper.keep(example())
        wait_until(lambda: keeper.num_dropped == 1)
    wait_until(lambda: "begun anew" in caplog.text)
    keeper.keep(example())
    wait_until(lambda: keeper.num_stored == 2)
    assert num_in(tmp_path) == 1
    assert len(list(tmp_path.glob(f"{FILE_NAME}.corrupt-*"))) >= 1


def _find_damage(*_, **__):
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
    raise error


def test_a_store_of_another_unit_is_left_alone(keepers, tmp_path, caplog):
    """Nothing is mixed."""
    Store.open(tmp_path, now=0.0, unit="compute").close()
    keeper = keepers()
    keeper.start()
    keeper.keep(example())
    wait_until(lambda: keeper.num_dropped == 1)
    assert "give --predictor another folder" in caplog.text
    assert num_in(tmp_path) == 0


def test_keeping_never_waits_for_the_disk(keepers, monkeypatch):
    """However long a write takes."""
    release = threading.Event()
    monkeypatch.setattr(Store, "add", lambda *_, **__: release.wait(10) and 1)
    keeper = keepers()
    keeper.start()
    began_at = time.perf_counter()
    for _ in range(1_000):
        keeper.keep(example())
    assert time.perf_counter() - began_at < 1.0
    release.set()
