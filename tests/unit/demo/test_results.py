"""The arithmetic on a recorded run: costs, completion times, load, running calls."""

from __future__ import annotations

import json
import math
from pathlib import Path

from justitia_server.demo.results import (
    Application,
    Call,
    Run,
    load_applications,
    mean_jct_s,
    offered_load,
    p90_jct_s,
)
from justitia_server.serve.watch import ServerUse

USE = ServerUse(
    num_iterations=1000,
    busy_s=10.0,
    mean_kv_ratio=0.9,
    peak_kv_ratio=1.0,
    peak_calls_waiting=3,
    num_preemptions=2,
)


def application(
    *calls: Call, arrival_s: float = 0.0, finish_s: float = 1.0, error: str | None = None
) -> Application:
    return Application("a", "kind", arrival_s, arrival_s, finish_s, error, calls)


def call(start_s: float, running_from_s: float | None, end_s: float) -> Call:
    return Call(start_s, running_from_s, end_s, prompt_tokens=10, output_tokens=2)


def test_cost_is_the_sum_of_held_tokens() -> None:
    """p*d + d(d+1)/2 is what holding p+1, p+2, … p+d tokens adds up to."""
    assert Call(0, 0, 1, prompt_tokens=100, output_tokens=3).cost == 101 + 102 + 103


def test_jct_counts_from_the_planned_arrival() -> None:
    """A client that starts an application late does not shorten its completion time."""
    late = Application("a", "kind", 1.0, 2.0, 5.0, None, ())
    assert late.jct_s == 4.0
    assert Run("stock", (late,), USE).worst_slip_s == 1.0


def test_p90_is_the_nearest_rank() -> None:
    """Nine of ten applications took no longer."""
    run = [application(finish_s=float(seconds)) for seconds in range(1, 11)]
    assert p90_jct_s(run) == 9.0
    assert mean_jct_s(run) == 5.5


def test_no_applications_have_no_mean() -> None:
    """Nothing finished is not the same as finished at once."""
    assert math.isnan(mean_jct_s([]))
    assert math.isnan(p90_jct_s([]))


def test_running_levels_count_calls_and_leave_gaps() -> None:
    """Two overlapping calls, a pause, and one more."""
    levels = application(call(0, 1, 4), call(0, 2, 3), call(5, 6, 7)).running_levels()
    assert levels == [(1, 2, 1), (2, 3, 2), (3, 4, 1), (6, 7, 1)]


def test_calls_of_unknown_running_time_are_not_drawn() -> None:
    """A server that does not say when a call ran leaves only the waiting bar."""
    assert application(call(0, None, 4)).running_levels() == []


def test_offered_load_is_arriving_work_over_capacity() -> None:
    """21 units of work in 2 s on 3 tokens at 100 iterations a second."""
    run = Run(
        "stock",
        (application(call(0, 0, 1)), application(arrival_s=2.0, finish_s=3.0)),
        USE,
    )
    assert run.total_cost == 23.0
    assert offered_load(run, capacity_tokens=3) == 23.0 / (3 * 100 * 2)


def test_failed_applications_are_kept_apart() -> None:
    """A failure is no completion."""
    run = Run("stock", (application(), application(error="boom")), USE)
    assert [len(run.finished), len(run.failed)] == [1, 1]


def test_results_file_is_read_by_arrival(tmp_path: Path) -> None:
    """Lines are written as applications finish and read in the order of arrival."""
    fields = {"kind": "k", "started_s": 0.0, "finish_s": 2.0, "jct_s": 2.0, "ok": True}
    calls = [
        {
            "start_s": 0.1,
            "running_from_s": 0.2,
            "end_s": 0.3,
            "prompt_tokens": 5,
            "output_tokens": 1,
        }
    ]
    lines = [
        fields | {"app_id": name, "arrival_s": at, "error": None, "calls": calls}
        for name, at in (("second", 1.0), ("first", 0.0))
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    read = load_applications(path)
    assert [item.app_id for item in read] == ["first", "second"]
    assert read[0].calls == (Call(0.1, 0.2, 0.3, 5, 1),)
