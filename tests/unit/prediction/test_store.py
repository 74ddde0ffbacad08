"""The store of examples: what it keeps, its bounds, and files that are damaged."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
import zlib
from collections import Counter
from dataclasses import replace

import pytest
from support.examples import DAY_S, example, full_example

from justitia_sdk.errors import ConfigurationError
from justitia_server.prediction import store as store_module
from justitia_server.prediction.records import MOST_TEXT_CHARS
from justitia_server.prediction.shares import fair_level
from justitia_server.prediction.store import FILE_NAME, MERGED, Limits, Store


@pytest.fixture
def opened(tmp_path):
    """A function that opens the store of one folder; all are closed in the end."""
    stores = []

    def open_store(limits=None, **more):
        stores.append(Store.open(tmp_path, now=0.0, limits=limits, **more))
        return stores[-1]

    yield open_store
    for each in stores:
        each.close()


@pytest.fixture
def bound_every_time(monkeypatch):
    monkeypatch.setattr(store_module, "_NUM_ADDED_BETWEEN_BOUNDS", 1)


def examples_in(store):
    return [each.example for each in store.latest()]


def test_an_example_comes_back_as_it_was(opened):
    """Plan, standing, hashed text and glimpses, but for the text itself."""
    told = full_example()
    store = opened()
    assert store.add([told], now=0.0) == 1
    assert examples_in(store) == [replace(told, question=replace(told.question, input_text=None))]


def test_text_is_kept_only_where_asked(opened, tmp_path):
    """Else no byte of it is in the file."""
    opened().add([full_example(text="unmistakable")], now=0.0)
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        (body,) = raw.execute("SELECT body FROM examples").fetchone()
    assert b"unmistakable" not in zlib.decompress(body)
    keeping = opened(keep_text=True)
    keeping.add([full_example(text="unmistakable")], now=0.0)
    assert [each.question.input_text for each in examples_in(keeping)] == [None, "unmistakable"]
    assert [each.num_with_text for each in keeping.counts()] == [1]


@pytest.mark.parametrize(
    "text", ["", "\x00\xff binary", "汉字 кириллица", "\ud800 alone", "x" * 10**6]
)
def test_any_text_is_kept_and_bounded(opened, text):
    """Empty, binary, any script, half a surrogate pair, a megabyte of it."""
    store = opened(keep_text=True)
    store.add([full_example(text=text)], now=0.0)
    assert examples_in(store)[0].question.input_text == text[:MOST_TEXT_CHARS]


def test_only_the_owner_may_read_it(opened, tmp_path):
    """It tells what was asked of the server."""
    opened().add([example()], now=0.0)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_an_example_without_sense_is_left_out(opened, caplog):
    """The others of its batch are stored."""
    store = opened()
    bad = [example(0.0), example(float("nan")), example(float("inf"))]
    assert store.add([*bad, example(5.0)], now=0.0) == 1
    assert store.num_refused == 3
    assert "its cost must be finite and above 0, not nan" in caplog.text


@pytest.mark.usefixtures("bound_every_time")
def test_what_is_old_is_forgotten(opened):
    """Ninety days after the end of the application."""
    store = opened()
    store.add([example(ended_at=1 * DAY_S), example(ended_at=50 * DAY_S)], now=100 * DAY_S)
    assert [each.ended_at for each in examples_in(store)] == [50 * DAY_S]


@pytest.mark.usefixtures("bound_every_time")
def test_a_type_keeps_its_latest(opened):
    """And others are not touched by its flood."""
    store = opened(Limits(num_each=10))
    store.add([example(app_type="calm")], now=0.0)
    store.add([example(cost) for cost in range(1, 31)], now=0.0)
    costs = [each.cost for each in examples_in(store) if each.question.app_type == "t"]
    assert costs == list(range(21, 31))
    assert len(store) == 11


@pytest.mark.usefixtures("bound_every_time")
def test_a_flooding_tenant_gives_up_its_own(opened):
    """Whoever holds less than a fair share of a full store keeps it all."""
    store = opened(Limits(num_examples=50))
    store.add([example(tenant="small") for _ in range(5)], now=0.0)
    for flood in range(10):
        store.add([example(tenant="large", app_type=f"t{flood}") for _ in range(20)], now=0.0)
    held = Counter(each.question.tenant for each in examples_in(store))
    assert held == {"small": 5, "large": 45}


@pytest.mark.usefixtures("bound_every_time")
def test_the_coldest_types_of_whoever_has_most_are_merged(opened):
    """Under a name that no client can give; their examples stay."""
    store = opened(Limits(num_types=5))
    store.add([example(tenant="calm", app_type="only")], now=0.0)
    store.add([example(app_type=f"t{number}") for number in range(20)], now=0.0)
    known = {(each.tenant, each.app_type): each.num_examples for each in store.counts()}
    assert known == {
        ("calm", "only"): 1, ("a", MERGED): 17, ("a", "t17"): 1, ("a", "t18"): 1, ("a", "t19"): 1,
    }  # fmt: skip


def test_ten_thousand_types_stay_within_bounds(opened, tmp_path):
    """In the file, too: what is given up makes room for what comes."""
    store = opened(Limits(num_examples=2_000, num_types=100))
    for first in range(0, 10_000, 500):
        told = [example(app_type=f"type-{number}") for number in range(first, first + 500)]
        store.add(told, now=0.0)
        assert len(store.counts()) <= 100
        assert len(store) <= 2_000
    store.close()
    assert (tmp_path / FILE_NAME).stat().st_size < 1_000_000  # all 10,000 take three times that


def test_a_selection_is_shared_by_tenants_then_types(opened):
    """The latest of each, in the order in which they ended."""
    store = opened()
    store.add([example(cost, app_type="big") for cost in range(1, 31)], now=0.0)
    store.add([example(cost, app_type="rare") for cost in range(101, 104)], now=0.0)
    store.add([example(cost, tenant="b") for cost in range(201, 205)], now=0.0)
    costs = [each.example.cost for each in store.latest(14)]
    assert costs == [*range(24, 31), 101, 102, 103, 201, 202, 203, 204]


@pytest.mark.parametrize(
    ("amounts", "room", "level"),
    [([], 5, 0), ([1, 2, 3], 6, 3), ([1, 2, 9], 6, 3), ([5, 5, 5], 7, 2), ([0, 9], 4, 4)],
)
def test_the_level_of_a_fair_share(amounts, room, level):
    """Whoever holds no more keeps it all; more than the room is never held."""
    assert fair_level(amounts, room) == level
    assert sum(min(each, level) for each in amounts) <= room


def test_new_examples_are_counted(opened):
    """From a number on, and all of them in a store that was begun anew."""
    store = opened()
    store.add([example() for _ in range(4)], now=0.0)
    assert (store.newest_id, store.num_after(3), store.num_after(4), store.num_after(99)) == (
        4, 1, 0, 4,
    )  # fmt: skip


def test_clearing_leaves_no_bytes(opened, tmp_path):
    """Numbers go on, so that nobody takes the next example for one that was seen."""
    store = opened(keep_text=True)
    store.add([full_example(text=f"unmistakable {number}") for number in range(50)], now=0.0)
    assert store.clear() == 50
    assert len(store) == 0
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        assert raw.execute("PRAGMA freelist_count").fetchone() == (0,)
    assert not (tmp_path / f"{FILE_NAME}-wal").stat().st_size
    store.add([example()], now=0.0)
    assert store.newest_id == 51


@pytest.mark.parametrize("damage", ["garbage", "holes", "cut", "other tables", "other version"])
def test_a_file_that_cannot_be_used_is_set_aside(opened, tmp_path, caplog, damage):
    """With one line in the log; a new one is begun."""
    path = tmp_path / FILE_NAME
    with Store.open(tmp_path, now=0.0) as sound:
        sound.add([full_example() for _ in range(200)], now=0.0)
    if damage == "garbage":
        path.write_bytes(b"not a database at all" * 500)
    elif damage == "holes":
        whole = path.read_bytes()
        path.write_bytes(whole[:9_000] + bytes(30_000) + whole[39_000:])
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:9_000])
    else:
        path.unlink()
        with sqlite3.connect(path) as strange:
            strange.execute("CREATE TABLE mine (a)")
            if damage == "other version":
                strange.execute("PRAGMA user_version = 7")
    store = opened()
    assert len(store) == 0
    assert store.add([example()], now=0.0) == 1
    aside = [each.name for each in tmp_path.iterdir() if "corrupt" in each.name]
    assert aside == ["examples.db.corrupt-19700101T000000"]
    lines = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(lines) == 1
    assert "begun anew" in lines[0].getMessage()


def test_costs_in_another_unit_are_refused(opened):
    """What was learned in one is wrong in the other."""
    opened()
    with pytest.raises(ConfigurationError, match=r"costs are in kv_token_time.* another folder"):
        opened(unit="compute")


def test_another_process_reads_while_one_writes(opened, tmp_path):
    """And reading makes no file where there is none."""
    opened().add([example() for _ in range(3)], now=0.0)
    code = (
        "import sys; from pathlib import Path\n"
        "from justitia_server.prediction.store import Store\n"
        "print(len(Store.open_to_read(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"
    with pytest.raises(ConfigurationError, match=r"it has no examples\.db"):
        Store.open_to_read(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_reader_changes_nothing(opened, tmp_path):
    """SQLite itself refuses."""
    opened().add([example()], now=0.0)
    with Store.open_to_read(tmp_path) as reader, pytest.raises(sqlite3.OperationalError):
        reader.add([example()], now=0.0)


def test_a_damaged_example_is_left_out(opened, tmp_path, caplog):
    """The others are read."""
    store = opened()
    store.add([example(1.0), example(2.0), example(3.0)], now=0.0)
    with sqlite3.connect(tmp_path / FILE_NAME) as raw:
        raw.execute("UPDATE examples SET body = x'00ff' WHERE id = 2")
    assert [each.cost for each in examples_in(store)] == [1.0, 3.0]
    assert "1 examples" in caplog.text


def test_a_killed_writer_leaves_what_it_wrote(tmp_path):
    """The file is in order, and holds every batch that was added."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from justitia_server.prediction.base import Example, Question, Standing\n"
        "from justitia_server.prediction.store import Store\n"
        "store = Store.open(Path(sys.argv[1]), now=0.0)\n"
        "one = Example(Question('t'), Standing(), None, (), 5.0)\n"
        "for _ in range(3): store.add([one] * 10, now=0.0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    with Store.open_to_read(tmp_path) as store:
        assert len(store) == 30
