"""`justitia bench` on real servers: lengths forced, arrivals kept, outputs as of `simulate`."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.server import SCARCE_KV, LiveServer
from support.traffic import Applications, is_empty
from typer.testing import CliRunner

from justitia_sdk.errors import ConfigurationError, ServerUnavailable
from justitia_server.cli import app
from justitia_server.simulation.outcomes import COLUMNS

MEASURED_BY_CLIENT = {
    "mean_jct_s", "p50_jct_s", "p90_jct_s", "p99_jct_s", "throughput_tokens_s", "kv_utilisation",
    "num_preemptions", "num_failed", "p99_slip_s", "max_slip_s",
}  # fmt: skip
TOLD_BY_OUR_BOOKS = {
    "on_time_ratio", "worst_lateness_s", "bound_violations", "prediction_mre",
    "prediction_kendall_tau",
}  # fmt: skip
BENCH = [sys.executable, "-c", "from justitia_server.cli import main; main()", "bench"]


def call(place, *after, p=40, d=20, **more):
    return {"id": place, "after": list(after), "prompt_tokens": p, "output_tokens": d, **more}


def application(name, arrival_s, *calls):
    return {"app_id": name, "app_type": f"bench-{name}", "arrival_s": arrival_s, "calls": calls}


WORKLOAD = [
    application("fan", 0.0, *(call(place, p=200, d=100) for place in range(8)), call(8, *range(8))),
    application("chain", 0.3, call(0), call(1, 0, p=90, d=30, delay_s=0.4), call(2, 1, p=130)),
    application("votes", 0.6, call(0, p=70, d=40, samples=4), call(1, 0)),
    application("shared", 0.8, call(0, p=100, shared_prefix_tokens=64, prefix_scope="type")),
]
OUTPUT_TOKENS = {"fan": 820, "chain": 70, "votes": 180, "shared": 20}


def written(path: Path, lines) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.fixture
def workload(tmp_path):
    return written(tmp_path / "workload.jsonl", WORKLOAD)


def bench(*words, code=0):
    """Run the command in this process; a refusal is raised, as `main` would print it."""
    result = CliRunner().invoke(app, ["bench", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def measures(folder: Path):
    return json.loads((folder / "summary.json").read_text())["policies"]


def rows(folder: Path):
    with (folder / "applications.csv").open() as file:
        return list(csv.DictReader(file))


def our_processes():
    return {process.pid for process in psutil.Process().children(recursive=True)}


def test_counts_are_forced_and_arrivals_kept(server: LiveServer, workload, tmp_path):
    """By the server's own books, every application got the tokens its file says, and was ended."""
    bench("--url", server.base_url, "--workload", workload, "--out", tmp_path)
    shown = {each["type"]: each for each in Applications(server.api_url).list()}
    told = {name: shown[f"bench-{name}"] for name in OUTPUT_TOKENS}
    assert {name: each["output_tokens"] for name, each in told.items()} == OUTPUT_TOKENS
    assert {name: each["calls"]["done"] for name, each in told.items()} == {
        "fan": 9, "chain": 3, "votes": 5, "shared": 1,
    }  # fmt: skip
    assert {each["state"] for each in told.values()} == {"finished"}
    found = measures(tmp_path)["justitia"]
    assert set(found) == MEASURED_BY_CLIENT | TOLD_BY_OUR_BOOKS
    assert found["num_failed"] == 0
    assert found["p99_slip_s"] < 0.25
    assert found["prediction_kendall_tau"] > 0.6


def test_rows_are_those_of_a_simulation(server: LiveServer, tmp_path):
    """In arrival order, times consistent; twice as fast, under a name of one's own."""
    of_new_types = [{**line, "app_type": f"new-{line['app_id']}"} for line in WORKLOAD]
    path = written(tmp_path / "workload.jsonl", of_new_types)
    bench("--url", server.api_url, "--workload", path, "--out", tmp_path, "--speed", 2,
          "--label", "mine", "--predicted-cost", "online")  # fmt: skip
    told = rows(tmp_path)
    assert tuple(told[0]) == COLUMNS
    assert [row["app_id"] for row in told] == [each["app_id"] for each in WORKLOAD]
    assert [float(row["arrival_s"]) for row in told] == [0.0, 0.15, 0.3, 0.4]
    for row in told:
        value = {name: float(row[name]) for name in COLUMNS[4:]}
        assert value["jct_s"] == pytest.approx(value["finish_s"] - value["arrival_s"], abs=1e-5)
        lateness_s = value["finish_s"] - value["fair_finish_s"]
        assert value["lateness_s"] == pytest.approx(lateness_s, abs=1e-5)
    chain = next(row for row in told if row["app_id"] == "chain")
    assert float(chain["jct_s"]) > 0.2  # the delay, at twice the speed
    assert measures(tmp_path)["mine"]["prediction_mre"] > 0.1  # nobody had told the server


def test_a_refused_call_fails_its_application_alone(server: LiveServer, tmp_path):
    """Exit code 1; the others are measured; the reason is said."""
    refused = application("refused", 0.1, call(0), call(1, 0, samples=20_000))
    path = written(tmp_path / "workload.jsonl", [WORKLOAD[0], refused])
    said = bench("--url", server.base_url, "--workload", path, "--out", tmp_path, code=1)
    assert "call 1 of refused: HTTP 400" in said
    assert [(row["app_id"], bool(row["jct_s"])) for row in rows(tmp_path)] == [
        ("fan", True),
        ("refused", False),
    ]
    assert measures(tmp_path)["justitia"]["num_failed"] == 1


@pytest.mark.parametrize(
    ("url", "words", "error", "said"),
    [
        ("http://127.0.0.1:9", (), ServerUnavailable, "no server answers at http://127.0.0.1:9"),
        ("{}/metrics", (), ServerUnavailable, "/metrics is no OpenAI-compatible server"),
        ("{}", ("--model", "nope"), ConfigurationError, "has no model 'nope', but toy"),
        ("{}", ("--workload", "long"), ConfigurationError, "call 0 of long needs 4120 tokens"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_call(
    url, words, error, said, server: LiveServer, workload, tmp_path, monkeypatch
):
    """In a sentence that names what is wrong."""
    monkeypatch.chdir(tmp_path)
    written(Path("long"), [application("long", 0.0, call(0, p=4100))])
    told = words if "--workload" in words else ("--workload", workload, *words)
    with pytest.raises(error, match=said):
        bench("--url", url.format(server.base_url), *told)


def test_sigterm_in_the_midst_of_a_run_ends_its_calls(server: LiveServer, tmp_path):
    """The server that is up stays up, serves none of them any more, and knows that they ended."""
    long = application("long", 0.0, *(call(place, p=500, d=3000) for place in range(4)))
    path = written(tmp_path / "workload.jsonl", [long])
    process = subprocess.Popen(
        [*BENCH, "--url", server.base_url, "--workload", str(path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    applications = Applications(server.api_url)
    applications.wait_for(lambda told: told.state()["num_running_calls"] > 0, seconds=60)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in said) == (130, False)
    assert "stopped; no server of this bench is left running" in said
    applications.wait_for(is_empty)


def test_ctrl_c_while_a_server_starts_leaves_no_process(workload):
    """Sent twice, as by somebody in a hurry."""
    process = psutil.Popen(
        [*BENCH, "--serve", "--toy", "--workload", str(workload)],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    family: set[psutil.Process] = set()
    until = time.monotonic() + 60
    while len(family) < 1 and time.monotonic() < until:
        family |= set(process.children(recursive=True))
        time.sleep(0.2)
    time.sleep(3)  # let it load
    family |= set(process.children(recursive=True))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode == 130
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


@pytest.mark.slow
def test_policies_are_run_on_servers_of_their_own_one_after_the_other(workload, tmp_path):
    """The same arrivals; of stock vLLM what the client sees; no process is left."""
    before = our_processes()
    table = bench(
        "--serve", f"--toy --no-enable-prefix-caching {' '.join(SCARCE_KV)}",
        "--policy", "justitia,stock", "--workload", workload,
        "--out", tmp_path, "--report", tmp_path / "report",
    )  # fmt: skip
    assert our_processes() - before == set()
    assert "true costs declared" in table
    found = measures(tmp_path)
    compared = {"mean_jct_vs_stock"}
    assert set(found["justitia"]) == MEASURED_BY_CLIENT | TOLD_BY_OUR_BOOKS | compared
    assert set(found["stock"]) == MEASURED_BY_CLIENT | compared
    assert found["justitia"]["prediction_mre"] < 0.01  # what is declared is charged
    told = rows(tmp_path)
    assert [row["policy"] for row in told] == ["justitia"] * 4 + ["stock"] * 4
    assert {row["fair_finish_s"] for row in told if row["policy"] == "stock"} == {""}
    report = (tmp_path / "report" / "report.html").read_text()
    assert all(name in report for name in found["justitia"])
    assert len(list((tmp_path / "report").glob("*.png"))) == report.count("data:image/png") == 3
    assert (tmp_path / "server-stock.log").exists()
