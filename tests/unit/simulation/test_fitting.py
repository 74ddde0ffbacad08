"""Learning step times from step logs: planted constants are found again."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine.step_log import HEADER, csv_lines
from justitia_server.simulation.fitting import fit_step_time, predicted_ms
from justitia_server.simulation.logged_steps import LoggedSteps, read_step_logs
from justitia_server.simulation.step_table import read_table, shipped_rows, write_fit
from justitia_server.simulation.step_time import StepTime, read_step_time

CPU = StepTime(2.0, 0.05, 2e-5, 3.0, 0.02, 1e-6)  # e above a
GPU = StepTime(11.9, 0.02, 3.7e-4, 5.5, 0.05, 1.6e-6)  # e below a


def shapes(seed, number=1500):
    """Return (B, K, chunks) of steps as mixed traffic makes them."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        decoding = int(draw.integers(1, 65))
        held = int(decoding * draw.integers(50, 2000))
        chunks = [
            (int(draw.integers(0, 2) * draw.integers(0, 4000)), int(draw.integers(10, 3000)))
            for _ in range(draw.integers(1, 4))
        ]
        kind = draw.random()
        if kind < 0.6:
            found.append((decoding, held, []))
        elif kind < 0.85:
            found.append((decoding, held, chunks))
        else:
            found.append((0, 0, chunks))
    return found


def log(constants, seed=0, *, sigma=0.0, outliers=0.0, only=lambda shape: True):
    """Return a log of `shapes` as *constants* would make it, with noise and pauses."""
    draw = np.random.default_rng(seed + 1000)
    lines = []
    for shape in filter(only, shapes(seed)):
        took = constants.step_s(*shape) * np.exp(draw.normal(0, sigma))
        if draw.random() < outliers:
            took *= draw.uniform(2, 20)
        lines.append((1.7e9, took, *shape))
    return lines


def steps_of(entries, tmp_path):
    path = tmp_path / "steps.csv"
    path.write_text("\n".join([HEADER, *csv_lines(entries)]) + "\n")
    return read_step_logs([path])


def columns_of(entries):
    """The same without a file."""
    rows = [
        (took * 1000, b, k, len(chunks), sum(n for _, n in chunks),
         sum(n * (2 * h + n) for h, n in chunks))
        for _, took, b, k, chunks in entries
    ]  # fmt: skip
    return LoggedSteps(*np.array(rows, dtype=float).T)


@pytest.mark.parametrize("planted", [CPU, GPU], ids=["e above a", "e below a"])
def test_planted_constants_are_found_exactly_where_nothing_errs(planted):
    """All six, whichever of a and e is larger."""
    found = fit_step_time(columns_of(log(planted)))
    assert astuple(found.constants) == pytest.approx(astuple(planted), rel=1e-6)
    assert found.decode.median_error == pytest.approx(0, abs=1e-6)
    assert (found.decode.num_outliers, found.prefill.num_outliers) == (0, 0)
    assert found.prefill.r_squared == pytest.approx(1)


planted = st.builds(
    StepTime,
    st.floats(1, 30), st.floats(0.001, 0.5), st.floats(1e-5, 1e-3),
    st.floats(1, 40), st.floats(0.01, 1), st.floats(0, 1e-5),
)  # fmt: skip


@given(planted, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_planted_constants_are_found_through_noise_and_pauses(planted, seed):
    """5 % of noise, every twelfth step far too long: expected times are right to 3 %."""
    noisy = columns_of(log(planted, seed, sigma=0.05, outliers=0.08))
    found = fit_step_time(noisy)
    errors = np.abs(predicted_ms(found.constants, noisy) / predicted_ms(planted, noisy) - 1)
    assert np.percentile(errors, 95) < 0.03
    assert 0.03 < found.decode.median_error < 0.05
    assert found.decode.num_outliers > 0.05 * found.decode.num_steps
    assert min(astuple(found.constants)) >= 0


def test_what_is_predicted_is_what_the_simulator_charges():
    """One formula, twice written: here for columns."""
    entries = log(GPU)
    assert predicted_ms(GPU, columns_of(entries)) / 1000 == pytest.approx(
        [took for _, took, *_ in entries]
    )


def test_a_log_is_read_as_it_was_written(tmp_path):
    """Through its file, to a tenth of a microsecond."""
    entries = log(CPU)
    read, told = steps_of(entries, tmp_path), columns_of(entries)
    assert read.took_ms == pytest.approx(told.took_ms, abs=1e-4)
    for name in LoggedSteps.__slots__[1:]:
        assert list(getattr(read, name)) == list(getattr(told, name))


def test_a_line_cut_off_is_left_out(tmp_path):
    """The server was killed as it wrote it."""
    path = tmp_path / "steps.csv"
    path.write_text(f"{HEADER}\n1.0,2.0,1,50,\n1.0,3.0,1,5")
    assert list(read_step_logs([path]).took_ms) == [2.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no step log: it must begin with ended_at,took_ms"),
        ("app_id,arrival_s\n", "is no step log"),
        (f"{HEADER}\n1.0,2.0,1\n", "line 2: '1.0,2.0,1' is no step; its columns are ended_at"),
        (f"{HEADER}\n1.0,2.0,1,50,7\n", "line 2"),
    ],
)
def test_a_file_that_is_no_step_log_is_refused(tmp_path, text, said):
    """With the line."""
    path = tmp_path / "steps.csv"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_step_logs([path])


def test_a_missing_log_is_refused(tmp_path):
    """By its name."""
    with pytest.raises(ConfigurationError, match=r"none\.csv cannot be read: No such file"):
        read_step_logs([tmp_path / "none.csv"])


@pytest.mark.parametrize(
    ("only", "said"),
    [
        (lambda shape: shape[2], "0 steps that only decode, and 100 are needed: send calls with"),
        (lambda shape: not shape[2], "0 steps with prompts, and 30 are needed: send more calls"),
        (lambda shape: shape[0], "0 steps compute prompts while nothing .* one at a time"),
        (lambda shape: not shape[0] or 30 <= shape[0] < 40, "send few calls at a time, then many"),
    ],
)
def test_a_log_that_cannot_tell_a_constant_is_refused(only, said):
    """With the traffic to send."""
    with pytest.raises(ConfigurationError, match=said):
        fit_step_time(columns_of(log(GPU, only=only)))


def test_sequences_that_hold_as_many_tokens_in_every_step_are_refused():
    """a and c cannot be told apart."""
    steps = columns_of(log(GPU))
    decode = steps.num_chunks == 0
    held = np.where(decode, 1000.0, steps.num_kv_tokens)
    with pytest.raises(ConfigurationError, match="a and c cannot be told apart: send calls with"):
        fit_step_time(replace(steps, num_kv_tokens=held))


def test_prompts_of_one_length_are_refused():
    """e, f and g cannot be told apart."""
    steps = columns_of(log(GPU))
    tokens = np.where(steps.num_chunks > 0, 500.0, 0.0)
    with pytest.raises(ConfigurationError, match="send prompts of different lengths"):
        fit_step_time(replace(steps, num_prompt_tokens=tokens))


def test_what_is_hardly_told_apart_is_a_warning():
    """B with K where all sequences are equally long; f with g where all prompts are."""
    steps = columns_of(log(GPU))
    alike = replace(
        steps,
        num_kv_tokens=300 * steps.num_decoding,
        num_prompt_tokens=500 * steps.num_chunks,
        num_squares=250_000 * steps.num_chunks,
    )
    one, other = fit_step_time(alike).warnings
    assert "b and c are hardly told apart" in one
    assert "f and g are hardly told apart" in other
    assert fit_step_time(steps).warnings == ()


def test_a_fit_is_written_as_a_table_and_read_as_step_times(tmp_path):
    """To six digits."""
    path = tmp_path / "mine.json"
    assert not write_fit(path, "My CPU", "org/toy", fit_step_time(columns_of(log(CPU))))
    told = read_step_time(f"{path}:My CPU/org/toy")
    assert astuple(told) == pytest.approx(astuple(CPU), rel=1e-5)


def test_a_table_keeps_its_other_rows(tmp_path):
    """The one of that name is replaced."""
    path = tmp_path / "mine.json"
    fits = [fit_step_time(columns_of(log(planted))) for planted in (CPU, GPU)]
    assert [write_fit(path, "G", model, fits[0]) for model in ("m", "n", "m")] == [0, 0, 1]
    assert write_fit(path, "G", "m", fits[1])
    assert [row["model"] for row in read_table(path)["constants"]] == ["n", "m"]
    assert read_step_time(f"{path}:G/m").decode_base_ms == pytest.approx(11.9)
    assert read_step_time(f"{path}:G/n").decode_base_ms == pytest.approx(2.0)


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"constants": [{"gpu": "x"}]}', "{"])
def test_a_file_that_is_no_table_is_left_alone(tmp_path, text):
    """Whatever it is."""
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="no table of step times, and is left as it is"):
        write_fit(path, "G", "m", fit_step_time(columns_of(log(CPU))))
    assert path.read_text() == text


@pytest.mark.parametrize(("gpu", "model"), [("", "m"), ("g", "a:b"), ("g", " m"), ('"g"', "m")])
def test_names_that_could_not_be_asked_for_are_refused(tmp_path, gpu, model):
    """As FILE:GPU/MODEL."""
    with pytest.raises(ConfigurationError, match="must be a name without a colon"):
        write_fit(tmp_path / "t.json", gpu, model, fit_step_time(columns_of(log(CPU))))


def test_the_rows_that_ship_are_those_that_are_read():
    """By GPU and model."""
    for row in shipped_rows():
        told = read_step_time(f"{row['gpu']}/{row['model']}")
        assert told.decode_base_ms == row["decode"]["base_ms"]
