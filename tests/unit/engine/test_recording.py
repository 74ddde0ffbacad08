"""From calls as an engine saw them to lines of a workload."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine.call_graph import waits
from justitia_server.engine.line_file import append_lines
from justitia_server.engine.recorder import RecordedCall
from justitia_server.engine.recording import sort_recording, workload_line
from justitia_server.simulation.workload import Arriving, read_workload

moments = st.integers(0, 30)
spans = st.lists(
    st.tuples(moments, st.integers(1, 10)).map(lambda told: (told[0], told[0] + told[1])),
    max_size=20,
).map(sorted)


def call(began_at, ended_at, *, p=10, d=3, stage=None, samples=1, cached=0):
    return RecordedCall(stage, p, d, samples, cached, float(began_at), float(ended_at))


def line(*calls, **told):
    recorded = {"app_id": "a", "app_type": "t", "tenant": "default", "weight": 1.0, **told}
    return json.loads(workload_line({**recorded, "calls": list(calls)}))


def implied(after):
    """Return, of every call, all those before it, by way of others included."""
    found = []
    for before in after:
        found.append(set(before).union(*(found[each] for each in before)))
    return found


# -- who waited for whom -----------------------------------------------------------------


def test_a_chain():
    """Each waits for the one before alone."""
    assert waits([(0, 1), (1, 2), (2, 3)]) == [[], [0], [1]]


def test_a_fan_out_and_its_end():
    """Two after the first, one after both."""
    assert waits([(0, 1), (1, 2), (1, 3), (3, 4)]) == [[], [0], [0], [1, 2]]


def test_a_call_that_overlaps_is_not_waited_for():
    """The third came while the second ran."""
    assert waits([(0, 1), (1, 5), (2, 3)]) == [[], [0], [0]]


def test_nothing_waits_for_nothing():
    """No call, one call."""
    assert (waits([]), waits([(0, 1)])) == ([], [[]])


@given(spans)
def test_all_that_had_ended_are_waited_for_and_none_is_named_in_vain(told):
    """Directly or by way of others; and not both."""
    after = waits(told)
    reached = implied(after)
    for place, (began_at, _) in enumerate(told):
        had_ended = {each for each in range(place) if told[each][1] <= began_at}
        assert reached[place] == had_ended
        for each in after[place]:
            assert not any(each in reached[other] for other in after[place])


def test_two_stages_of_very_many_calls_do_not_name_the_square():
    """Those that ended last are named."""
    number = 4000
    first = [(0, 1 + place / number) for place in range(number)]
    after = waits([*first, *((3, 4) for _ in range(number))])
    assert sum(map(len, after)) < 1_100_000
    assert after[number] == list(range(number - len(after[number]), number))
    assert len(after[number]) > 100


# -- lines -------------------------------------------------------------------------------


def test_a_line_is_a_workloads():
    """All that was told; what is as by default is left out."""
    told = line(
        call(100.0, 101.0, stage="plan", p=50, d=7),
        call(101.5, 103.0, samples=4, cached=8),
        tenant="key-1", weight=2.0,
    )  # fmt: skip
    assert told == {
        "app_id": "a", "app_type": "t", "arrival_s": 100.0, "tenant": "key-1", "weight": 2.0,
        "calls": [
            {
                "id": 0, "stage": "plan", "prompt_tokens": 50, "output_tokens": 7,
                "shared_prefix_tokens": 8, "prefix_scope": "app",
            },
            {
                "id": 1, "after": [0], "prompt_tokens": 10, "output_tokens": 3, "samples": 4,
                "shared_prefix_tokens": 8, "prefix_scope": "app", "delay_s": 0.5,
            },
        ],
    }  # fmt: skip
    assert Arriving.model_validate(told).calls[1].prefix_scope == "app"


def test_calls_are_in_the_order_in_which_they_came():
    """However they ended."""
    told = line(call(2, 3, p=3), call(0, 9, p=1), call(1, 2, p=2))
    assert [each["prompt_tokens"] for each in told["calls"]] == [1, 2, 3]
    assert [each.get("after", []) for each in told["calls"]] == [[], [], [1]]


def test_a_call_that_waits_for_none_is_late_by_the_time_since_the_first():
    """The application arrives with the first."""
    assert line(call(5, 9), call(5.25, 6))["calls"][1]["delay_s"] == 0.25


def test_a_delay_counts_from_the_last_that_ended():
    """Of those waited for."""
    told = line(call(0, 1), call(0, 4), call(4.5, 5))
    assert (told["calls"][2]["after"], told["calls"][2]["delay_s"]) == ([0, 1], 0.5)


def prefixes(*calls):
    told = line(*calls)["calls"]
    return [(each.get("prefix_scope"), each.get("shared_prefix_tokens", 0)) for each in told]


def test_the_first_call_shares_with_its_type_and_later_ones_with_their_application():
    """As the prefix cache had it; never more than the prompt."""
    found = prefixes(call(0, 1, cached=8), call(1, 2, p=10, cached=16))
    assert found == [("type", 8), ("app", 10)]


def test_the_calls_of_a_conversation_share_what_the_next_one_found():
    """Each prompt is the one before and more: what is cached of it, the one before has, too."""
    turns = [call(0, 1, p=100), call(2, 3, p=200, cached=96), call(4, 5, p=300, cached=192)]
    assert prefixes(*turns) == [("app", 96), ("app", 192), ("app", 192)]
    assert prefixes(turns[0], call(2, 3, p=200)) == [(None, 0), (None, 0)]


def test_names_that_are_no_text_are_still_lines():
    """Half a surrogate pair, ends of lines: a client may send anything."""
    text = workload_line(
        {
            "app_id": "a\ud800\u2028\n", "app_type": "t", "tenant": "default", "weight": 1,
            "calls": [call(0, 1)],
        }
    )  # fmt: skip
    assert "\n" not in text
    assert Arriving.model_validate_json(text.encode()).app_id == "a?\u2028\n"


# -- files -------------------------------------------------------------------------------


def test_lines_are_appended_behind_one_header(tmp_path):
    """However often; nothing makes no file."""
    path = tmp_path / "lines"
    append_lines(path, [], header="h")
    assert not path.exists()
    for lines in (["1", "2"], ["ö"]):
        append_lines(path, lines, header="h")
    assert path.read_text(encoding="utf-8") == "h\n1\n2\nö\n"


def written(tmp_path, *told):
    path = tmp_path / "recording.jsonl"
    append_lines(
        path,
        [
            workload_line(
                {"app_id": app_id, "app_type": "t", "tenant": "default", "weight": 1,
                 "calls": [call(at, at + 1)]}
            )
            for app_id, at in told
        ],
    )  # fmt: skip
    return path


def test_sorting_puts_applications_in_order_of_arrival(tmp_path):
    """Counted from the first; then the file is a workload."""
    path = written(tmp_path, ("b", 1.7e9 + 2.5), ("c", 1.7e9 + 1), ("a", 1.7e9))
    assert sort_recording(path) == 3
    assert [(each.app_id, each.arrival_s) for each in read_workload(path)] == [
        ("a", 0.0), ("c", 1.0), ("b", 2.5),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [path]


def test_sorting_twice_changes_nothing(tmp_path):
    """Nor does a workload that is in order."""
    path = written(tmp_path, ("b", 3), ("a", 1), ("b", 2), ("b", 2))
    sort_recording(path)
    once = path.read_bytes()
    sort_recording(path)
    assert path.read_bytes() == once


def test_ids_that_recur_are_told_apart(tmp_path):
    """By their number, in order of arrival; a name that is taken is skipped."""
    path = written(tmp_path, ("a", 3), ("a", 1), ("a+2", 2), ("a", 4))
    sort_recording(path)
    assert [each.app_id for each in read_workload(path)] == ["a", "a+2", "a+3", "a+4"]


def test_a_last_line_cut_off_is_left_out(tmp_path):
    """The server was killed as it wrote it."""
    path = written(tmp_path, ("a", 1), ("b", 0))
    with path.open("a") as file:
        file.write('{"app_id":"c","calls":[')
    assert sort_recording(path) == 2


def test_an_empty_recording_stays_empty(tmp_path):
    """Nothing came."""
    path = tmp_path / "recording.jsonl"
    path.touch()
    assert sort_recording(path) == 0
    assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense\n", "line 1: not JSON"),
        ("[]\n", "line 1: app_id: an application's id is missing"),
        ('{"app_id":1}\n', "line 1: app_id"),
        ('\n{"app_id":"a","arrival_s":"1"}\n', "line 2: arrival_s: a number of seconds is missing"),
        ('{"app_id":"a","arrival_s":NaN}\n', "line 1: arrival_s"),
    ],
)
def test_what_is_no_recording_is_refused_and_left_alone(tmp_path, text, said):
    """With the line."""
    path = tmp_path / "recording.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        sort_recording(path)
    assert path.read_text() == text


def test_a_missing_recording_is_refused(tmp_path):
    """By its name."""
    with pytest.raises(ConfigurationError, match="cannot be sorted: No such file"):
        sort_recording(tmp_path / "none.jsonl")


@given(spans.filter(bool))
def test_delays_are_never_negative_and_never_too_long(told):
    """Each call starts when it did, to a microsecond, and never later."""
    calls = line(*(call(began, ended) for began, ended in told))["calls"]
    starts = []
    for each in calls:
        since = max((told[before][1] for before in each.get("after", [])), default=told[0][0])
        starts.append(since + each.get("delay_s", 0.0))
    for start, (began_at, _) in zip(starts, told, strict=True):
        assert began_at - 1.1e-6 <= start <= began_at
    assert all(one <= other for one, other in pairwise(starts))
