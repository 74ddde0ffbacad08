"""`justitia simulate` and `justitia workload`, as a user types them."""

import csv
import json

import pytest
from typer.testing import CliRunner

from justitia_sdk.errors import ConfigurationError
from justitia_server.cli import app
from justitia_server.simulation.outcomes import COLUMNS

pytestmark = pytest.mark.engine

MEASURES = {
    "mean_jct_s", "p50_jct_s", "p90_jct_s", "p99_jct_s", "mean_jct_vs_vtc", "mean_jct_vs_srjf",
    "share_no_later_than_vtc", "worst_ratio_to_vtc", "on_time_ratio", "worst_lateness_s",
    "on_time_ratio_nominal", "worst_lateness_s_nominal", "bound_violations",
    "throughput_tokens_s", "kv_utilisation", "num_preemptions", "jain_index", "starvation_s",
    "decision_us", "decision_us_arrival", "prediction_mre", "prediction_kendall_tau",
}  # fmt: skip


def justitia(*words):
    """Run the command in this process; a refusal is raised, as `main` would print it."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "workload.jsonl"
    said = justitia(
        "workload", "make", path, "--applications", 6, "--families", "fever_react,alfworld",
        "--load", 1.5, "--seed", 3,
    )  # fmt: skip
    assert "6 applications of 2 types" in said
    assert "offered load 1.50" in said
    return path


def test_a_made_workload_is_in_order(made):
    """Six applications of two types."""
    assert "6 applications" in justitia("workload", "check", made)


def test_every_policy_of_a_file_is_told_by_every_measure(made, tmp_path):
    """A row an application and policy, a value a measure."""
    justitia("simulate", "--workload", made, "--policy", "justitia,las", "--jobs", 1,
             "--out", tmp_path / "out", "--report", tmp_path / "report")  # fmt: skip
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["policies"]
    assert set(summary) == {"justitia", "las"}
    assert all(set(told) == MEASURES for told in summary.values())
    assert all(isinstance(value, int | float) for value in summary["las"].values())
    with (tmp_path / "out" / "applications.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["policy"] for row in rows] == ["justitia"] * 6 + ["las"] * 6
    report = (tmp_path / "report" / "report.html").read_text()
    assert all(name in report for name in MEASURES)
    assert len(list((tmp_path / "report").glob("*.png"))) == report.count("data:image/png") == 5
    assert "http" not in report.replace("http-equiv", "")  # nothing is fetched


def test_an_application_is_explained_under_every_policy(made):
    """Who delayed it, in a table each."""
    app_id = json.loads(made.read_text().splitlines()[3])["app_id"]
    told = justitia("simulate", "--workload", made, "--policy", "justitia,fcfs", "--jobs", 1,
                    "--blocks", 250, "--explain", app_id)  # fmt: skip
    assert f"{app_id} under justitia: arrived" in told
    assert f"{app_id} under fcfs: arrived" in told
    assert told.count("all its calls were served") == 2


def test_an_unknown_application_cannot_be_explained(made):
    """Near names are told."""
    first = json.loads(made.read_text().splitlines()[0])["app_id"]
    with pytest.raises(ConfigurationError, match=f"no application is called.*{first}"):
        justitia("simulate", "--workload", made, "--explain", f"{first}x")


def test_several_seeds_are_told_by_mean_least_and_most(tmp_path):
    """Drawn anew for each, in processes of their own."""
    table = justitia(
        "simulate", "--applications", 4, "--families", "fever_react", "--policy", "justitia",
        "--seeds", "1,2", "--out", tmp_path / "out",
    )  # fmt: skip
    assert "mean of 2 seeds" in table
    told = json.loads((tmp_path / "out" / "summary.json").read_text())["policies"]["justitia"]
    spread = told["mean_jct_s"]
    assert spread["min"] <= spread["mean"] <= spread["max"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--policy", "nope"), "policy 'nope' is unknown; choose one of"),
        (("--policy", ","), "--policy names nothing"),
        (("--seeds", "one"), "seeds are whole numbers"),
        (("--seeds", ""), "--seeds names nothing"),
        (("--rate", "0"), "rate must be finite and above 0"),
        (("--max-num-batched-tokens", "16"), "step of 16 tokens .* 256 sequences"),
        (("--families", "nope"), "no applications called 'nope'"),
        (("--arrivals", "nope"), "no arrivals called 'nope'"),
        (("--step-time", "nope"), "no step time for 'nope'"),
        (("--load", "0"), "load must be finite and above 0"),
        (("--blocks", "4"), "no application of .* within 64 tokens"),
        (("--predicted-cost", "nope"), "predicted costs are"),
        (("--out", "pyproject.toml/figures"), "cannot write into pyproject.toml/figures: Not a"),
        (("--report", "pyproject.toml"), "cannot write into pyproject.toml: File exists"),
        (("--workload", "missing.jsonl"), "missing.jsonl cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(words, said):
    """That names what is wrong, and what there is."""
    with pytest.raises(ConfigurationError, match=said):
        justitia("simulate", "--jobs", 1, *words)


def test_two_families_of_one_name_are_refused(made, tmp_path):
    """One would hide the other."""
    other = tmp_path / "alfworld.jsonl"
    other.write_text("")
    with pytest.raises(ConfigurationError, match="two families are called 'alfworld'"):
        justitia("simulate", "--families", f"alfworld,{other}")


def test_a_workload_is_not_made_where_nothing_can_be_written(made):
    """Said before it is drawn."""
    with pytest.raises(ConfigurationError, match="cannot write into"):
        justitia("workload", "make", made / "there.jsonl", "--applications", 2)
