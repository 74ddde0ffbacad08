"""Modelled step times."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import ConfigurationError
from justitia_server.simulation.step_time import StepTime, read_step_time

MODEL = StepTime(10.0, 0.5, 0.001, 4.0, 0.05, 1e-6)


def test_a_decode_step():
    """a + b B + c K."""
    assert MODEL.step_s(8, 5000) == pytest.approx((10 + 4 + 5) / 1000)


def test_a_prefill_step():
    """e + f n + g n^2."""
    assert MODEL.step_s(0, 0, [(0, 1000)]) == pytest.approx((4 + 50 + 1) / 1000)


def test_a_step_that_does_both_reads_the_weights_once():
    """The larger of a and e."""
    assert MODEL.step_s(8, 5000, [(0, 1000)]) == pytest.approx((10 + 4 + 5 + 50 + 1) / 1000)


def test_an_empty_step_takes_no_time():
    """Nothing is computed."""
    assert MODEL.step_s(0, 0) == 0


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=8))
def test_chunks_of_a_prompt_cost_what_the_prompt_costs(chunks):
    """But for the weights, read in each step."""
    before, total = 0, 0.0
    for now in chunks:
        total += MODEL.step_s(0, 0, [(before, now)]) - 4.0 / 1000
        before += now
    assert total == pytest.approx(MODEL.step_s(0, 0, [(0, before)]) - 4.0 / 1000)


def test_the_shipped_table():
    """By GPU and model."""
    assert read_step_time("A100-80GB SXM/Llama-2-7B") == StepTime(
        11.86, 0.0019, 3.66e-4, 5.5, 0.0491, 1.59e-6
    )


def test_a_table_in_a_file(tmp_path):
    """Of the shipped one's form; quotes do not hurt."""
    row = {
        "gpu": "Mine", "model": "Toy",
        "decode": {"base_ms": 1, "per_sequence_ms": 2, "per_kv_token_ms": 3},
        "prefill": {"base_ms": 4, "per_token_ms": 5, "per_token_squared_ms": 6},
    }  # fmt: skip
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"constants": [row]}))
    for told in (f"{path}:Mine/Toy", f'{path}:"Mine/Toy"'):
        assert read_step_time(told) == StepTime(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("A100/GPT-5", "no step time for 'A100/GPT-5'; there are: A100-80GB SXM/Llama-2-13B"),
        ("missing.json:A/B", "missing.json cannot be read: No such file"),
    ],
)
def test_what_is_not_there_is_refused(told, said):
    """With what there is."""
    with pytest.raises(ConfigurationError, match=said):
        read_step_time(told)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    """Whatever it is."""
    for text in ("nonsense", "{}", '{"constants": [{"gpu": "x"}]}'):
        path = tmp_path / "mine.json"
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="no table of step times"):
            read_step_time(f"{path}:A/B")
