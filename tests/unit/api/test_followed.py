"""A call's outputs on their way, and what they tell of its application."""

import asyncio
from types import SimpleNamespace

import pytest

from justitia_server.api.followed import FollowedCall, follow
from justitia_server.fairness.cost import KV_TOKEN_TIME
from justitia_server.prediction.base import Case, Prediction, Question, Standing
from justitia_server.prediction.following import Following


@pytest.fixture
def following():
    return Following(Case(Question("t"), Standing(), Prediction(1.0, "prior")), KV_TOKEN_TIME)


def output(*samples):
    """Return an output as of vLLM: of each sample index, tokens and reason of its end."""
    return SimpleNamespace(
        outputs=[
            SimpleNamespace(index=index, token_ids=[7] * number, finish_reason=reason)
            for index, number, reason in samples
        ]
    )


async def generated(outputs, *, closed=None, error=None):
    try:
        for each in outputs:
            yield each
        if error is not None:
            raise error
    finally:
        if closed is not None:
            closed.append(True)


def played(following, *outputs, error=None, **told):
    """Let a call be followed to its end; return the course."""
    call = FollowedCall(following, num_prompt_tokens=10, **told)

    async def play():
        return [each async for each in follow(generated(outputs, error=error), call)]

    assert asyncio.run(play()) == list(outputs)
    return following.case.course


def test_what_is_new_is_added_up(following):
    """Streamed, each output holds the latest tokens only."""
    course = played(
        following, output((0, 2, None)), output((0, 3, None)), output((0, 1, "stop")), is_delta=True
    )
    assert (course.num_done, course.output_tokens, course.num_open) == (1, 6, 0)


def test_what_holds_all_is_not_added_up(following):
    """Otherwise each holds all tokens so far."""
    course = played(following, output((0, 2, None)), output((0, 6, "length")))
    assert (course.num_done, course.output_tokens) == (1, 6)


def test_samples_are_calls(following):
    """Each begins with the prompt and ends by itself."""
    course = played(
        following, output((0, 4, "stop")), output((1, 5, "stop"), (2, 6, "abort")), num_samples=3
    )
    assert (course.num_begun, course.num_done, course.num_open) == (3, 2, 0)
    assert (course.prompt_tokens, course.output_tokens) == (30, 9)


def test_a_client_that_goes_away_has_aborted_its_call(following):
    """And vLLM's own generator is closed at once, so that the engine is told."""
    closed = []

    async def play():
        call = FollowedCall(following, num_prompt_tokens=10)
        outputs = follow(generated([output((0, 1, None))] * 2, closed=closed), call)
        await anext(outputs)
        assert following.case.course.num_open == 1
        await outputs.aclose()
        assert closed

    asyncio.run(play())
    course = following.case.course
    assert (course.num_begun, course.num_done, course.num_open) == (1, 0, 0)


def test_an_engine_that_fails_has_aborted_the_call(following):
    """Its error goes on to whoever waits."""
    with pytest.raises(RuntimeError, match="engine"):
        played(following, output((0, 1, None)), error=RuntimeError("engine"))
    assert following.case.course.num_open == 0


def test_a_call_that_never_begins_is_never_open(following):
    """vLLM may drop a generator before anybody has asked it for anything."""
    follow(generated([]), FollowedCall(following, num_prompt_tokens=10))
    assert following.case.course.num_begun == 0


@pytest.mark.parametrize("broken", [SimpleNamespace(), output((9, 1, "stop"))])
def test_an_output_that_cannot_be_read_goes_on_all_the_same(following, broken):
    """Whatever vLLM comes to yield."""
    course = played(following, broken, output((0, 3, "stop")))
    assert course.num_done == 1


def test_the_end_of_a_call_is_news(following):
    """Told once it can be asked about."""
    told = []
    played(following, output((0, 3, "stop")), on_news=lambda one: told.append(one.has_news))
    assert told[-1] is True
