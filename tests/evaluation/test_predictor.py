"""The measurement of the predictor: replayed applications, splits, the mix."""

import json

import pytest

from justitia_server.fairness.cost import call_cost
from justitia_server.prediction.scoring import Answer

from .predictor_data import drawn, fold_of, in_turn, read_families
from .predictor_measures import by_family, ceiling, progress


@pytest.fixture
def families(tmp_path):
    """Thirty applications, every two with one text: a call, then three at once, then one."""
    (tmp_path / "apps").mkdir()
    (tmp_path / "inputs").mkdir()
    calls = [(0, [], 100), (1, [0], 200), (2, [0], 200), (3, [0], 200), (4, [1, 2, 3], 300)]
    apps, texts = [], []
    for number in range(30):
        told = [
            {"id": place, "after": after, "prompt_tokens": prompt, "output_tokens": 10 + number}
            for place, after, prompt in calls
        ]
        apps.append({"app_id": f"a{number}", "app_type": "tree", "calls": told})
        texts.append({"app_id": f"a{number}", "input_text": f"text {number // 2}"})
    for folder, lines in (("apps", apps), ("inputs", texts)):
        file = tmp_path / folder / "tree.jsonl"
        file.write_text("\n".join(json.dumps(line) for line in lines))
    return read_families(tmp_path)


def test_calls_are_replayed_a_level_at_a_time(families):
    """What is seen is noted when a level has ended and the next has begun."""
    first, second = families["tree"][0].example.glimpses
    assert (first.num_waves, first.num_done, first.num_open, first.cost) == (
        2, 1, 3, call_cost(100, 10),
    )  # fmt: skip
    assert (second.num_waves, second.num_done, second.num_open) == (3, 4, 1)
    assert second.open_prompt_tokens == 300


def test_repeats_are_in_one_fold(families):
    """And folds are of about one size."""
    folds = fold_of(families["tree"], seed=3)
    assert all(folds[place] == folds[place + 1] for place in range(0, 30, 2))
    assert max(map(folds.count, range(5))) <= 8


def test_an_application_stands_by_those_before_it(families):
    """Its own cost is not among them."""
    told = in_turn(families["tree"])
    assert [each.standing.num_seen for each in told[:3]] == [0, 1, 2]


def test_nothing_is_drawn_twice(families):
    """Fewer are drawn where there are fewer."""
    ids = [each.app_id for each in drawn(families["tree"], 100, seed=1)]
    assert len(ids) == len(set(ids)) == 30


def test_applications_that_had_ended_count_as_known(families):
    """In the mix of all; in that of those still running they are not."""
    before = {"tree": [Answer(2.0, 1.0), Answer(2.0, 8.0)]}
    later = {"tree": [None, Answer(8.0, 8.0)]}
    told = progress(before, later, seed=1)
    assert told["after"]["tree"]["num"] == 1
    assert told["before"]["tree"]["log_rmse"] == pytest.approx(1.386, abs=1e-3)
    assert told["all"]["log_rmse"] == 0


def test_the_ceiling_is_what_other_runs_of_the_same_input_cost(families):
    """Each predicted as the other one of its pair."""
    answers = {"tree": [Answer(1.0, each.example.cost) for each in families["tree"]]}
    told = ceiling(families, answers, seed=1)
    assert told["tree"]["median_error"] < 0.1
    assert by_family(answers, seed=1)["tree"]["median_error"] > 0.99


def test_no_plan_is_made_up_for_a_type_without_one(families):
    """Only what its program knows is declared."""
    assert families["tree"][0].example.question.plan is None
