"""The demo, small: its client against a live server, then the whole command."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from support.server import LiveServer

from justitia_server.demo.client import ClientFailed, Event, run_client
from justitia_server.demo.results import load_applications
from justitia_server.demo.run import DemoSettings, run_demo


def run_small_workload(base_url: str, folder: Path) -> list[Event]:
    """Run one application of every kind and return the client's events."""
    events: list[Event] = []
    run_client(
        base_url=base_url,
        order="small-first",
        seed=0,
        num_each=1,
        out=folder / "results.jsonl",
        log=folder / "client.log",
        on_event=events.append,
    )
    return events


def test_every_kind_runs_and_is_recorded(server: LiveServer, tmp_path: Path) -> None:
    """Four kinds finish; agents really call their tools; lengths are the forced ones."""
    events = run_small_workload(f"{server.base_url}/v1", tmp_path)
    finished = {item.kind: item for item in load_applications(tmp_path / "results.jsonl")}
    assert [item.error for item in finished.values()] == [None] * 4
    assert len(finished["research_agent"].calls) == 5  # four tools, then the answer
    assert len(finished["self_consistency"].calls) == 9
    assert len(finished["tool_loop"].calls) == 4
    assert {call.output_tokens for call in finished["tool_loop"].calls} == {100}
    assert len(finished["dossier_summary"].calls) > 20
    assert [event["event"] for event in events].count("finished") == 4


def test_failed_applications_are_reported(tmp_path: Path) -> None:
    """A server that is not there is an error, not an empty result."""
    with pytest.raises(ClientFailed, match="ended early"):
        run_small_workload("http://127.0.0.1:9/v1", tmp_path)


@pytest.mark.slow
def test_whole_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both servers start, run the same work, and end; figures and picture are there."""
    before = {process.pid for process in psutil.process_iter()}
    code = run_demo(
        orders=["large-first"],
        seed=0,
        out=tmp_path,
        as_json=True,
        settings=DemoSettings(num_each=1),
    )
    [comparison] = json.loads(capsys.readouterr().out)["comparisons"]
    assert code == 0
    assert comparison["kinds"][-1]["number"] == 4
    assert comparison["tokens_ratio"] == pytest.approx(1.0, abs=0.05)
    assert comparison["runs"]["stock"]["peak_kv_ratio"] > 0.5
    assert Path(comparison["picture"]).read_bytes().startswith(b"\x89PNG")
    left = [
        process.name()
        for process in psutil.Process().children(recursive=True)
        if process.pid not in before
    ]
    assert left == []
