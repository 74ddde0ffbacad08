"""What `justitia bench` refuses before anything is started or sent."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from justitia_sdk.errors import ConfigurationError
from justitia_server.bench.server import Access, LiveServer
from justitia_server.cli import app

LINE = (
    '{"app_id":"a","app_type":"t","arrival_s":0.0,"calls":'
    '[{"id":0,"prompt_tokens":10,"output_tokens":5}]}\n'
)


@pytest.fixture
def workload(tmp_path):
    path = tmp_path / "workload.jsonl"
    path.write_text(LINE)
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give either --url, .* or --serve"),
        (("--url", "http://x", "--serve", "--toy"), "give either --url, .* or --serve"),
        (("--url", "http://x", "--policy", "vtc"), "--policy goes with --serve"),
        (("--serve", "--toy", "--label", "mine"), "--label goes with --url"),
        (("--url", "localhost:8000"), "--url is the server's address"),
        (("--url", "http://x", "--speed", "0"), "speed must be finite and above 0"),
        (("--url", "http://x", "--speed", "nan"), "speed must be finite and above 0"),
        (("--url", "http://x", "--predicted-cost", "lognormal:1"), "costs are true or online"),
        (("--url", "http://x", "--workload", "missing.jsonl"), "missing.jsonl cannot be read"),
        (("--url", "http://x", "--out", "pyproject.toml/x"), "cannot write into pyproject.toml/x"),
        (("--serve", ""), "--serve names no model"),
        (("--serve", "'open"), "--serve cannot be read: No closing quotation"),
        (("--serve", "--toy --port 1"), "--serve takes no --port"),
        (("--serve", "--toy --policy=vtc"), "--serve takes no --policy"),
        (("--serve", "--toy", "--policy", "vtc,nope"), "policy 'nope' is unknown; .*, stock"),
        (("--serve", "--toy", "--policy", ","), "--policy names nothing"),
        (("--serve", "--toy", "--policy", ""), "--policy names nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(words, said, workload):
    """That names what is wrong, and what to do."""
    told = ["bench", *words, *(() if "--workload" in words else ("--workload", str(workload)))]
    with pytest.raises(ConfigurationError, match=said):
        CliRunner().invoke(app, told, catch_exceptions=False)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_model_len": 60}, r"call 1 of big needs 80 tokens, and max_model_len .* is 60"),
        ({"capacity": 79}, r"call 1 of big needs 80 tokens, and the KV memory .* is 79"),
    ],
)
def test_a_call_that_cannot_fit_is_named(limits, said, application):
    """It would be refused, or wait for ever."""
    made = application("big", {}, {"prompt_tokens": 60, "output_tokens": 20})
    with pytest.raises(ConfigurationError, match=said):
        LiveServer(Access("http://x"), "toy", **limits).check([made])


def test_calls_that_just_fit_do(application):
    """Prompt and output together; a server that does not say is taken to be large enough."""
    made = application("a", {"prompt_tokens": 60, "output_tokens": 20})
    LiveServer(Access("http://x"), "toy", max_model_len=80, capacity=80).check([made])
    LiveServer(Access("http://x"), "toy").check([made])
