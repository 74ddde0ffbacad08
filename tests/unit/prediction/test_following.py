"""Following one application: what is news, what is told, who goes ahead."""

from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import KV_TOKEN_TIME, call_cost
from justitia_server.prediction.base import Case, Prediction, Question, Standing
from justitia_server.prediction.following import Following, Revision


class Predictor:
    """Says the costs it is given, one a revision."""

    def __init__(self, *costs):
        self.costs = list(costs)

    def revise(self, case):
        return Prediction(self.costs.pop(0), "own", is_scouted=case.prediction.is_scouted)

    def replan(self, case, plan):
        return self.revise(case)


def following(*, cost=1_000.0, is_scouted=False):
    told = Prediction(cost, "own", is_scouted=is_scouted)
    return Following(Case(Question("t"), Standing(), told), KV_TOKEN_TIME)


def test_nothing_is_asked_without_news():
    """Calls of the first wave that begin tell nothing new; one that ends does, once."""
    one, predictor = following(), Predictor(500.0)
    one.begin_call(10)
    one.begin_call(10)
    assert one.revise(predictor) is None
    one.end_call(10, 4)
    assert one.revise(predictor) == Revision(500.0, both_ways=False)
    assert one.revise(predictor) is None
    assert not predictor.costs


def test_a_later_wave_that_begins_is_news():
    """Its calls are what has unfolded."""
    one, predictor = following(), Predictor(500.0, 900.0)
    one.begin_call(10)
    one.end_call(10, 4)
    one.revise(predictor)
    one.begin_call(10)
    assert one.revise(predictor) == Revision(900.0, both_ways=False)


def test_small_changes_are_not_told():
    """They add up against what was told last."""
    one, predictor = following(), Predictor(1_010.0, 1_030.0)
    one.begin_call(10)
    for expected in (None, Revision(1_030.0, both_ways=False)):
        one.end_call(10, 4)
        assert one.revise(predictor) == expected


def test_of_a_scouted_application_one_call_goes_ahead():
    """The first; others do not, and those of applications that are not scouted do not."""
    one = following(is_scouted=True)
    assert [one.claim_scout(), one.claim_scout()] == [True, False]
    assert not following().claim_scout()


def test_several_samples_are_no_scout():
    """Nor is the call after them: the first wave is under way."""
    one = following(is_scouted=True)
    assert [one.claim_scout(10), one.claim_scout()] == [False, False]


def test_the_first_revision_after_a_scout_goes_both_ways():
    """Each later one downwards only."""
    one, predictor = following(is_scouted=True), Predictor(4_000.0, 6_000.0)
    one.claim_scout()
    for both_ways in (True, False):
        one.begin_call(10)
        one.end_call(10, 4)
        assert one.revise(predictor).both_ways == both_ways


def test_a_revision_after_a_scout_that_changes_little_was_its_only_one():
    """It said that the order stands as it should."""
    one, predictor = following(is_scouted=True), Predictor(1_001.0, 6_000.0)
    one.claim_scout()
    for expected in (None, Revision(6_000.0, both_ways=False)):
        one.begin_call(10)
        one.end_call(10, 4)
        assert one.revise(predictor) == expected


def test_a_retried_call_counts_once():
    """Whether its first attempt was aborted, is still open, or has completed unheard."""
    for end in (lambda one: one.abort_call(10), lambda one: None,
                lambda one: one.end_call(10, 4, call_id="c")):  # fmt: skip
        one = following()
        one.begin_call(10, call_id="c")
        end(one)
        one.begin_call(10, call_id="c", attempt=1)
        one.end_call(10, 4, call_id="c", attempt=1)
        course = one.case.course
        assert (course.num_begun, course.num_done, course.num_waves) == (1, 1, 1)


def test_an_attempt_given_up_that_completes_after_all_does_not_count():
    """Its client has begun another, whose end is the call's."""
    one = following()
    for attempt in (0, 1):
        one.begin_call(10, call_id="c", attempt=attempt)
    for attempt in (0, 1):
        one.end_call(10, 4, call_id="c", attempt=attempt)
    course = one.case.course
    assert (course.num_begun, course.num_done, course.num_open) == (1, 1, 0)


def test_of_a_retried_call_those_samples_count_again_that_had_completed():
    """One of three, then all three."""
    one = following()
    one.begin_call(10, call_id="c", num_samples=3)
    one.end_call(10, 4, call_id="c")
    for _ in range(2):
        one.abort_call(10)
    one.begin_call(10, call_id="c", attempt=1, num_samples=3)
    assert one.case.course.num_done == 0
    for _ in range(3):
        one.end_call(10, 4, call_id="c", attempt=1)
    course = one.case.course
    assert (course.num_begun, course.num_done, course.num_open) == (3, 3, 0)


def test_the_same_name_without_a_retry_is_another_call():
    """Some clients name all their calls alike."""
    one = following()
    for _ in range(2):
        one.begin_call(10, call_id="c")
        one.end_call(10, 4, call_id="c")
    assert one.case.course.num_done == 2


def test_samples_are_calls():
    """Each with the whole prompt."""
    one = following()
    one.begin_call(10, num_samples=3)
    one.end_call(10, 4)
    course = one.case.course
    assert (course.num_begun, course.num_open, course.cost) == (3, 2, call_cost(10, 4))


def test_a_plan_told_on_the_way_is_taken_up_at_once():
    """What was seen stays; what is predicted by it counts as told."""
    one = following()
    one.begin_call(10)
    one.end_call(10, 4)
    assert one.replan(Plan((Stage("map", 40),)), Predictor(5_000.0)) == 5_000
    assert one.case.course.num_done == 1
    assert one.revise(Predictor(5_010.0)) is None
