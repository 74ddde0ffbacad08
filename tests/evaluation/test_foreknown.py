"""What is told in the predictor's place."""

from statistics import fmean

import pytest

from justitia_server.simulation.shipped import named_families

from .foreknown import Hindsight, experienced
from .predictor_workload import NUM_APPLICATIONS, origin, told_workload

TAU_BENCH = "tau_bench_airline"


@pytest.fixture
def inputs(tmp_path):
    """A folder in which the texts of one family are told."""
    fever = named_families()["fever_react"]
    lines = (f'{{"app_id": "{each.app_id}", "input_text": "a claim"}}' for each in fever)
    (tmp_path / "fever_react.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_texts_and_plans_are_told(inputs):
    """Texts of those that have one, copies included; plans of the families that declare one."""
    drawn = told_workload(1.3, 1, inputs)
    assert len(drawn) == NUM_APPLICATIONS
    assert {each.app_type for each in drawn if each.input_text} == {"fever_react"}
    assert {each.app_type for each in drawn if each.plan} == {
        "kbqa_verification", "mapreduce_summarization", "self_consistency_writing",
    }  # fmt: skip


def test_hindsight_tells_means_of_the_types_it_is_asked_for(inputs):
    """And of all others the truth."""
    costs = Hindsight([TAU_BENCH])
    mean = fmean(each.cost for each in named_families()[TAU_BENCH])
    for each in told_workload(1.3, 1, inputs):
        expected = mean if each.app_type == TAU_BENCH else each.cost
        assert costs.predict(each).cost == pytest.approx(expected)


@pytest.mark.slow
def test_experience_is_of_others(inputs):
    """It answers from its model at once, except for the family of which nobody else was left."""
    drawn = told_workload(1.3, 1, inputs)
    costs = experienced(drawn, inputs, seed=1)
    first = {each.app_type: each for each in reversed(drawn)}
    sources = {name: costs.predict(each).source for name, each in first.items()}
    assert sources.pop("mapreduce_summarization") in {"pooled", "plan", "calibrated"}
    assert set(sources.values()) == {"own"}


def test_copies_have_the_origin_of_what_they_copy(inputs):
    """Twenty-seven MapReduce applications fill a quota of thirty."""
    drawn = [each for each in told_workload(1.3, 1, inputs) if "mapreduce" in each.app_type]
    assert len({origin(each) for each in drawn}) == 27 < len(drawn)
