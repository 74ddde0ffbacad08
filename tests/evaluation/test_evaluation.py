"""The generated kinds, and how measures become tables and gates."""

import re

import pytest

from . import pages
from .agents import agent_families
from .experiments import EXPERIMENTS, bursty_stamps
from .kinds import generated_families


def levels(application):
    deep = []
    for call in application.calls:
        deep.append(1 + max((deep[before] for before in call.after), default=0))
    return max(deep)


def test_document_merging_is_a_graph_of_thoughts():
    """80 sequences in six levels, as published."""
    for each in generated_families()["generated_document_merging"]:
        assert sum(call.samples for call in each.calls) == 80
        assert levels(each) == 6


@pytest.mark.parametrize("families", [generated_families, agent_families])
def test_generated_applications_follow_from_the_seed_and_say_what_they_are(families):
    """Nobody takes them for traces."""
    assert families(1) == families(1) != families(2)
    made = {name for name in families() if name.startswith("generated_")}
    assert made
    assert all(each.app_type == name for name in made for each in families()[name])


def test_bursts_come_in_windows_over_the_whole_span():
    """Ascending multiples of three seconds."""
    stamps = [each.arrival_s for each in bursty_stamps(300, 360, seed=1)]
    assert stamps == sorted(stamps)
    assert all(stamp % 3 == 0 for stamp in stamps)
    assert (stamps[0], stamps[-1]) == (0, 360)
    assert len(set(stamps)) < 110


def row(**measures):
    return {"measures": [measures, measures], "families": []}


def test_a_missed_gate_is_told(monkeypatch):
    """On the mean of the seeds; the others hold."""
    good = {
        "mean_jct_s": 10, "mean_jct_vs_vtc": 0.3, "mean_jct_vs_srjf": 1.2, "on_time_ratio": 1,
        "on_time_ratio_nominal": 1, "share_no_later_than_vtc": 0.9, "bound_violations": 0,
        "throughput_tokens_s": 100,
    }  # fmt: skip
    noisy = {"justitia": row(mean_jct_s=10.5)}
    data = {"true": {"justitia": row(**good), "fcfs": row(throughput_tokens_s=100)},
            "lognormal:0.25": noisy}  # fmt: skip
    monkeypatch.setattr(pages, "read", lambda name: data)
    missed = [what for what, _, holds in pages.gates() if not holds]
    assert missed == [f"load {load}: at most 1.10 of SRJF's" for load in pages.LOADS]


def test_tables_replace_what_stood_there(monkeypatch, tmp_path):
    """And nothing else of the page."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table mine -->\nold\n<!-- end -->\nafter\n")
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    monkeypatch.setattr(pages, "TABLES", {"mine": lambda: pages.table(["a", "b"], [["x", "1"]])})
    monkeypatch.setattr(pages, "gates", list)
    pages.write_pages()
    assert page.read_text() == (
        "before\n<!-- table mine -->\n| a | b |\n| --- | --: |\n| x | 1 |\n<!-- end -->\nafter\n"
    )


def test_every_table_of_a_page_is_known():
    """A page that asks for one that is not made would fail only after hours."""
    for page in pages.RESULTS.glob("*.md"):
        assert set(re.findall(r"<!-- table (\S+) -->", page.read_text())) <= pages.TABLES.keys()


def test_experiments_have_their_tables():
    """What is run is shown."""
    assert {name for name in EXPERIMENTS if "-" in name} <= pages.TABLES.keys()
