"""Workload files: what is read, what is refused and how, and that writing loses nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_server.fairness.cost import call_cost
from justitia_server.simulation import workload
from justitia_server.simulation.workload import (
    Arriving,
    WorkloadError,
    read_applications,
    read_workload,
    write_workload,
)

DATA = Path(workload.__file__).parent / "data"

CALL = {"id": 0, "after": [], "stage": None, "prompt_tokens": 10, "output_tokens": 3}
LINE = {"app_id": "a", "app_type": "t", "calls": [CALL], "arrival_s": 1.5, "tenant": ""}


def written(tmp_path, *lines):
    path = tmp_path / "workload.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_a_workload_is_read(tmp_path):
    """Fields as told, others by default."""
    then = {**CALL, "id": 1, "after": [0], "samples": 2, "delay_s": 0.5}
    path = written(tmp_path, {**LINE, "calls": [CALL, then], "weight": 2, "input_text": "x"})
    (line,) = read_workload(path)
    assert (line.arrival_s, line.tenant, line.weight, line.input_text) == (1.5, "", 2.0, "x")
    assert (line.calls[0].samples, line.calls[0].delay_s) == (1, 0.0)
    assert (line.calls[1].after, line.calls[1].delay_s) == ([0], 0.5)
    assert line.cost == 3 * call_cost(10, 3)
    assert line.num_output_tokens == 9
    assert not line.is_single_stage


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "apps").iterdir()))
def test_the_applications_that_ship_are_read(name):
    """Each file is one family, by its name."""
    applications = read_applications(DATA / "apps" / name)
    assert {each.app_type for each in applications} == {name.removesuffix(".jsonl")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({**LINE, "app_id": ""}, "app_id"),
        ({k: v for k, v in LINE.items() if k != "arrival_s"}, "arrival_s: this field is missing"),
        ({**LINE, "arrival_s": -1.0}, "arrival_s"),
        ({**LINE, "arrival_s": "1"}, "arrival_s"),
        ({**LINE, "weight": 0}, "weight"),
        ({**LINE, "tenant": None}, "tenant"),
        ({**LINE, "priority": 1}, "priority: there is no such field"),
        ({**LINE, "calls": []}, "calls"),
        ({**LINE, "calls": [{**CALL, "prompt_tokens": 0}]}, "calls[0].prompt_tokens"),
        ({**LINE, "calls": [{**CALL, "output_tokens": 1.5}]}, "calls[0].output_tokens"),
        ({**LINE, "calls": [{**CALL, "output_tokens": True}]}, "calls[0].output_tokens"),
        ({**LINE, "calls": [{**CALL, "delays": 1}]}, "calls[0].delays: there is no such field"),
        ({**LINE, "calls": [{**CALL, "id": 1}]}, "calls[0].id is 1"),
        ({**LINE, "calls": [{**CALL, "after": [0]}]}, "calls[0].after names 0"),
        ({**LINE, "calls": [{**CALL, "after": [-1]}]}, "calls[0].after names -1"),
        ({**LINE, "calls": [{**CALL, "samples": 0}]}, "calls[0].samples"),
        (
            {**LINE, "calls": [{**CALL, "shared_prefix_tokens": 11, "prefix_scope": "app"}]},
            "calls[0]: shared_prefix_tokens is 11, more than the 10 of prompt_tokens",
        ),
        ({**LINE, "calls": [{**CALL, "shared_prefix_tokens": 5}]}, "prefix_scope"),
        (
            {**LINE, "calls": [{**CALL, "shared_prefix_tokens": 5, "prefix_scope": "all"}]},
            "calls[0].prefix_scope",
        ),
        ({**LINE, "arrival_s": 0.5}, "arrival_s is 0.5, before the 1.5 of the line above"),
        ({**LINE, "arrival_s": 2.0, "app_id": "first"}, "app_id 'first' is that of line 1"),
        ([1], "line 2"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_by_line_field_and_reason(tmp_path, line, said):
    """The second line; the first is in order."""
    path = written(tmp_path, {**LINE, "app_id": "first"}, line)
    with pytest.raises(WorkloadError) as refused:
        read_workload(path)
    assert str(refused.value).startswith(f"{path}, line 2: ")
    assert said in str(refused.value)


def test_what_is_no_json_is_refused(tmp_path):
    """With its line; blank lines count and are passed over."""
    path = tmp_path / "workload.jsonl"
    path.write_text(f"\n{json.dumps(LINE)}\n{{nonsense\n")
    with pytest.raises(WorkloadError, match="line 3: not JSON"):
        read_workload(path)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"\xff\xfe\x00", "UTF-8"), (b"\n", "no applic")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, said):
    """One sentence that names it."""
    path = tmp_path / "workload.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkloadError, match=said) as refused:
        read_workload(path)
    assert str(path) in str(refused.value)


calls = st.lists(
    st.fixed_dictionaries(
        {"prompt_tokens": st.integers(1, 5000), "output_tokens": st.integers(1, 500)},
        optional={
            "samples": st.integers(1, 9),
            "stage": st.none() | st.text(max_size=5),
            "delay_s": st.floats(0, 100),
        },
    ),
    min_size=1,
    max_size=4,
)


@given(
    st.lists(
        st.tuples(calls, st.floats(0, 1e6), st.text(max_size=5), st.floats(0.1, 9)), min_size=1
    )
)
def test_what_is_written_is_read_again(tmp_path_factory, drawn):
    """Line by line the same."""
    lines = [
        Arriving(
            app_id=f"a{number}",
            app_type="t",
            calls=[
                {"id": place, "after": list(range(place)), **call} for place, call in enumerate(of)
            ],
            arrival_s=at,
            tenant=tenant,
            weight=weight,
        )
        for number, (of, at, tenant, weight) in enumerate(sorted(drawn, key=lambda each: each[1]))
    ]
    path = tmp_path_factory.mktemp("written") / "workload.jsonl"
    write_workload(path, lines)
    assert read_workload(path) == lines
