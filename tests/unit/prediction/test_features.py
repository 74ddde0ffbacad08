"""What a model is shown of an application."""

import math

import pytest

from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import COMPUTE, KV_TOKEN_TIME, call_cost
from justitia_server.prediction.base import Case, Prediction, Question, Standing
from justitia_server.prediction.course import Course
from justitia_server.prediction.features import (
    NUM_FEATURES,
    Lengths,
    features_of,
    floor_of,
    start_of,
    state_of,
)
from justitia_server.prediction.hashing import hash_text

LENGTHS = Lengths(math.log(1e5), math.log(500), math.log(100), math.log(200))
SEEN = Standing(30, math.log(2e6), 0.4)


def start(question=None, standing=SEEN, *, text=None, is_known=False):
    return start_of(
        question or Question("t"), standing, text, LENGTHS, KV_TOKEN_TIME, is_known=is_known
    )


def case(course, question=None):
    return Case(question or Question("t"), Standing(), Prediction(1.0, "prior"), None, course)


def test_the_base_of_a_new_type_is_where_it_stands():
    """As soon as one of its applications has ended."""
    one = Standing(1, math.log(2e6), 0.0)
    assert math.exp(start(standing=one).log_base) == pytest.approx(2e6, rel=0.35)


def test_the_base_of_a_type_never_seen_is_its_plan():
    """Taken at its word."""
    plan = Plan((Stage("map", calls=9, prompt_tokens=1000, output_tokens=50),))
    told = start(Question("t", plan=plan), Standing())
    assert math.exp(told.log_base) == pytest.approx(9 * call_cost(1000, 50))


def test_the_base_of_a_known_type_stays_without_a_standing():
    """After a restart the model still knows."""
    assert start(standing=Standing(), is_known=True).log_base == LENGTHS.log_cost


def test_a_declared_cost_does_not_move_the_base_of_a_known_type():
    """It has to be borne out: what it is worth is learned."""
    plan = Plan((Stage("s", calls=1, prompt_tokens=1, output_tokens=1),))
    declared = start(Question("t", plan=plan), is_known=True)
    assert declared.log_base == start(is_known=True).log_base


def test_what_is_learned_of_others_pulls_less_the_more_was_seen():
    """And in full only for a type never seen."""
    pulls = [start(standing=Standing(number, 0.0, 0.0)).pull for number in (0, 1, 10)]
    assert pulls[0] == 1
    assert pulls[0] > pulls[1] > pulls[2]


def test_lengths_are_not_compared_for_an_unknown_type():
    """What would be usual in it is not known."""
    long_one = Question("t", first_prompt_tokens=90_000)
    assert start(long_one, text=hash_text("x" * 900)).features == start().features
    assert start(long_one, is_known=True).features != start(is_known=True).features


def test_the_floor_counts_what_is_done_and_one_token_of_each_open_call():
    """In the unit of the policy."""
    course = Course()
    course.begin_call(100)
    course.end_call(100, 10, call_cost(100, 10))
    course.begin_call(200)
    course.begin_call(300)
    assert floor_of(case(course), KV_TOKEN_TIME) == call_cost(100, 10) + 201 + 301
    assert floor_of(case(course), COMPUTE) == call_cost(100, 10) + 202 + 302


def test_the_floor_at_arrival_is_one_token_of_the_first_call():
    """If its prompt is there already; else one token."""
    asked = Question("t", first_prompt_tokens=70)
    assert floor_of(case(Course(), asked), KV_TOKEN_TIME) == 71
    assert floor_of(case(Course()), KV_TOKEN_TIME) == 1


def test_the_number_of_features_does_not_change():
    """At arrival, running, known or not."""
    course = Course()
    course.begin_call(100)
    course.end_call(100, 10, 1055.0)
    for is_known in (False, True):
        for seen in (Course(), course):
            shown = features_of(start(is_known=is_known), seen, 3.0)
            assert len(shown) == NUM_FEATURES
            assert all(math.isfinite(each) for each in shown)


def test_states_follow_the_waves():
    """At arrival, second wave, up to the fifth, beyond."""
    assert [state_of(0, 1), state_of(1, 2), state_of(9, 5), state_of(9, 6)] == [0, 1, 2, 3]
