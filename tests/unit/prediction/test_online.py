"""The predictor in the loop: who answers, what is revised, and what is learned from an end."""

import math

import pytest

from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import call_cost
from justitia_server.fairness.samples import Sample
from justitia_server.prediction.base import Prediction, Question
from justitia_server.prediction.ladder import MOST_COST
from justitia_server.prediction.online import OnlinePredictor
from justitia_server.prediction.open_case import answer_of
from justitia_server.prediction.ratios import NUM_TRUSTED
from justitia_server.prediction.rivals import Rivals


@pytest.fixture(autouse=True)
def model_is_trusted(monkeypatch):
    """The model's word counts alone, unless a test is about that."""
    monkeypatch.setattr(Rivals, "weight", lambda self, *of, running: 1.0)


PLAN = Plan((Stage("map", calls=4, prompt_tokens=100, output_tokens=10),))


class Says:
    """A model that says what it is told to; a function is asked about the case."""

    def __init__(self, cost, **known):
        self.cost = cost
        self.known = known

    def predict(self, case):
        if self.cost is None:
            return None
        cost = self.cost(case) if callable(self.cost) else self.cost
        return Prediction(cost, "own", **self.known)


class Broken:
    def predict(self, case):
        raise ZeroDivisionError


def sample(cost, *, app_type="t", tenant="default", calls=1, unshared=None, declared=0, ended=True):
    return Sample(
        1, "app", app_type, tenant, cost, calls, 10, unshared or cost, declared, ended
    )  # fmt: skip


def ended(predictor, cost, question=None, **told):
    """Let one application arrive, make one call and end; return its case."""
    case = predictor.open(question or Question("t"))
    case.course.begin_call(100)
    case.course.end_call(100, 10, call_cost(100, 10))
    predictor.revise(case)
    predictor.observe(sample(cost, **told), case)
    return case


def test_the_model_goes_before_the_ladder():
    """Where it answers its word counts, with its interval and the rung it names."""
    predictor = OnlinePredictor(model=Says(700.0, low=300.0, high=900.0))
    told = predictor.open(Question("t", plan=PLAN)).prediction
    assert (told.source, told.low, told.high) == ("own", 300, 900)
    assert told.cost == pytest.approx(0.3 * 300 + 0.4 * 700 + 0.3 * 900)  # the mean
    assert told.declared_cost == 4 * call_cost(100, 10)


@pytest.mark.parametrize("model", [None, Says(None), Broken(), Says(math.nan), Says(-1.0)])
def test_without_an_answer_of_a_model_the_ladder_answers(model):
    """No model, one that is silent, one that is broken: the plan counts."""
    told = OnlinePredictor(model=model).open(Question("t", plan=PLAN)).prediction
    assert (told.cost, told.source) == (4 * call_cost(100, 10), "plan")


def test_what_a_model_could_not_answer_is_counted():
    """Each failure, and not that it knows nothing."""
    predictor = OnlinePredictor(model=Broken())
    predictor.open(Question("t"))
    predictor.use(Says(None))
    predictor.open(Question("t"))
    assert predictor.num_failed == 1


def test_a_single_call_is_no_question_for_a_model():
    """Its prompt is known: the ladder answers."""
    predictor = OnlinePredictor(model=Says(7.0))
    question = Question("t", is_single_call=True, first_prompt_tokens=40, max_output_tokens=5)
    assert predictor.open(question).prediction.cost == call_cost(40, 5)


def test_a_model_is_trusted_as_it_proves_right(monkeypatch):
    """Between it and what is said without it, nearer to who was closer to what others cost."""
    monkeypatch.undo()
    question = Question("t", plan=PLAN)
    laddered = 4 * call_cost(100, 10)

    def told_after(number, cost):
        predictor = OnlinePredictor(model=Says(100_000.0))
        for _ in range(number):
            ended(predictor, cost, question)
        return predictor.open(question).prediction.cost

    at_first = told_after(0, 0.0)
    assert laddered < at_first < 100_000
    assert told_after(20, 100_000.0) > 2 * at_first
    assert told_after(20, float(laddered)) < at_first / 2


@pytest.mark.parametrize("cost", [50_000.0, 5_000.0])
def test_a_revision_goes_up_and_down(cost):
    """Whatever the model says after what was seen, above what was used."""
    predictor = OnlinePredictor(model=Says(10_000.0))
    case = predictor.open(Question("t"))
    case.course.begin_call(100)
    predictor.use(Says(cost))
    assert predictor.revise(case).cost == cost
    assert case.prediction.cost == cost


@pytest.mark.parametrize("model", [None, Says(1.0)])
def test_nobody_is_predicted_below_what_was_used(model):
    """Calls done in full, and a token of each that is open."""
    predictor = OnlinePredictor(model=model)
    case = predictor.open(Question("t", first_prompt_tokens=1))
    case.course.begin_call(100)
    case.course.end_call(100, 5_000, call_cost(100, 5_000))
    case.course.begin_call(300)
    case.course.begin_call(400)
    assert predictor.revise(case).cost == call_cost(100, 5_000) + 301 + 401


def test_costs_are_scaled_by_what_the_type_is_charged():
    """A model speaks of costs as if nothing were shared; half of it is charged here."""
    predictor = OnlinePredictor(model=Says(1_000.0))
    ended(predictor, 400.0, unshared=800.0)
    assert predictor.open(Question("t")).prediction.cost == 500


def test_an_example_is_as_it_was_known_on_the_way():
    """Standing at its arrival, text as hashes, what was seen, cost as if nothing were shared."""
    kept = []
    predictor = OnlinePredictor(keep=kept.append, now=lambda: 77.0)
    for cost in (100.0, 400.0):
        ended(predictor, cost, Question("t", input_text="some words"), unshared=2 * cost)
    first, second = kept
    assert (first.standing.num_seen, second.standing.num_seen) == (0, 1)
    assert second.standing.log_median == pytest.approx(math.log(200))
    assert (second.cost, second.ended_at) == (800, 77.0)
    assert second.text.places
    assert second.question.input_text is None
    assert [glimpse.num_done for glimpse in second.glimpses] == [1]


def test_a_glimpse_shows_the_wave_that_the_call_let_loose():
    """Of two revisions with the same calls done, the later counts."""
    predictor = OnlinePredictor()
    case = predictor.open(Question("t"))
    case.course.begin_call(100)
    case.course.end_call(100, 1, 101.0)
    predictor.revise(case)
    case.course.begin_call(50)
    case.course.begin_call(50)
    predictor.revise(case)
    assert [(each.num_done, each.wave_size) for each in case.glimpses] == [(1, 2)]


def test_the_text_is_kept_only_where_it_may_be():
    """And a long one is cut, its length kept."""
    kept = []
    predictor = OnlinePredictor(keep=kept.append, keeps_text=True)
    ended(predictor, 100.0, Question("t", input_text="ab" * 100_000))
    assert len(kept[0].question.input_text) == 65_536
    assert kept[0].question.input_chars == 200_000


@pytest.mark.parametrize(
    ("options", "is_hashed"),
    [({}, False), ({"keep": lambda example: None}, True), ({"model": Says(1.0)}, True)],
    ids=["nobody", "an example", "a model"],
)
def test_a_text_is_hashed_for_those_who_read_it(options, is_hashed):
    """Hashing is the dearest part of an answer without a model."""
    case = OnlinePredictor(**options).open(Question("t", input_text="some words"))
    assert (case.text is not None) is is_hashed


def test_one_seen_in_part_teaches_its_cost_only():
    """Another process has served some of its calls: what was seen here would mislead."""
    kept = []
    ended(OnlinePredictor(keep=kept.append), 100.0, calls=3)
    assert (kept[0].cost, kept[0].glimpses) == (100, ())


def test_no_example_of_one_that_goes_on():
    """What it has cost so far is not what it costs."""
    kept = []
    predictor = OnlinePredictor(keep=kept.append)
    case = ended(predictor, 100.0, ended=False)
    assert not kept
    assert answer_of(sample(100.0, ended=False), case) is None
    assert answer_of(sample(100.0), case).predicted == case.at_arrival.cost


def test_declaring_less_pays_until_there_is_evidence():
    """A model that believes plans is corrected by what applications with plans have cost."""
    believes = Says(lambda case: 0.1 * 4_000 if case.question.plan else 4_000)
    predictor = OnlinePredictor(model=believes)
    question = Question("t", plan=PLAN)
    for _ in range(NUM_TRUSTED):
        assert predictor.open(question).prediction.cost == pytest.approx(400)
        ended(predictor, 4_000.0, question)
    assert predictor.open(question).prediction.cost == pytest.approx(4_000)
    renamed = Question("new name", plan=PLAN)
    assert predictor.open(renamed).prediction.cost == pytest.approx(4_000)
    other = Question("t", tenant="b", plan=PLAN)
    assert predictor.open(other).prediction.cost == pytest.approx(400)


@pytest.mark.parametrize("has_ended", [True, False], ids=["ended", "goes on"])
def test_never_ending_hides_nothing(has_ended):
    """What has cost ten times the model's answer to its plan corrects the next, ended or not."""
    predictor = OnlinePredictor(model=Says(700.0))
    question = Question("t", plan=PLAN)
    for _ in range(NUM_TRUSTED):
        case = predictor.open(question)
        predictor.observe(sample(7_000, ended=has_ended), case)
    assert predictor.open(question).prediction.cost == pytest.approx(7_000)


def test_a_correction_is_of_the_rest_only():
    """What is done is known."""
    predictor = OnlinePredictor(model=Says(1_000.0))
    question = Question("t", plan=PLAN)
    for _ in range(NUM_TRUSTED):
        ended(predictor, 3_000.0, question)
    case = predictor.open(question)
    case.course.begin_call(1)
    case.course.end_call(1, 1, 600.0)
    assert predictor.revise(case).cost == pytest.approx(600 + 3 * 400)


def test_a_new_model_begins_with_a_clean_slate():
    """What the one before was off by says nothing of it."""
    predictor = OnlinePredictor(model=Says(1_000.0))
    for _ in range(NUM_TRUSTED):
        ended(predictor, 3_000.0, Question("t", plan=PLAN))
    predictor.use(Says(3_000.0))
    assert predictor.open(Question("t", plan=PLAN)).prediction.cost == 3_000


@pytest.mark.parametrize(
    ("factor", "source"), [(10, "calibrated"), (0.1, "calibrated"), (1.2, "own")]
)
def test_a_new_model_is_not_led_by_plans_that_were_off(factor, source):
    """Not before it has been tried on them; then it counts, corrected."""
    declared = 4 * call_cost(100, 10)
    cost = factor * declared
    believes = Says(lambda case: declared)
    predictor = OnlinePredictor(model=believes)
    question = Question("t", plan=PLAN)
    for _ in range(NUM_TRUSTED):
        ended(predictor, cost, question, declared=declared)
    predictor.use(believes)
    told = predictor.open(question).prediction
    assert told.source == source
    assert told.cost == pytest.approx(declared if source == "own" else cost)
    for _ in range(NUM_TRUSTED):
        ended(predictor, cost, question, declared=declared)
    told = predictor.open(question).prediction
    assert (told.source, told.cost) == ("own", pytest.approx(declared if source == "own" else cost))


def test_a_new_model_is_asked_where_those_before_it_saw_through_plans():
    """Plans that are off mislead no version then, and a new one is presumed to be no worse."""
    declared = 4 * call_cost(100, 10)
    predictor = OnlinePredictor(model=Says(3.0 * declared))
    question = Question("t", plan=PLAN)
    for _ in range(NUM_TRUSTED):
        ended(predictor, 3.0 * declared, question, declared=declared)
    predictor.use(Says(2.9 * declared))
    told = predictor.open(question).prediction
    assert (told.source, told.cost) == ("own", pytest.approx(2.9 * declared))


def test_an_absurd_plan_is_not_shown_to_the_model():
    """It is counted, and what is known without it counts."""
    plan = Plan((Stage("all", calls=10**6, loop=10**6, prompt_tokens=10**8, output_tokens=10**8),))
    predictor = OnlinePredictor(model=Says(lambda case: 1e30 if case.question.plan else 500.0))
    told = predictor.open(Question("t", plan=plan)).prediction
    assert (told.cost, told.declared_cost) == (500, MOST_COST)
    assert predictor.ladder.num_absurd == 1


# -- plans told on the way ---------------------------------------------------------------

BURST = Plan((Stage("plan", prompt_tokens=100, output_tokens=10), Stage("map", calls=40)))


def begun(predictor, *, num_done=1):
    """Return the case of one that told no plan, with so many calls done."""
    case = predictor.open(Question("t", first_prompt_tokens=100))
    for _ in range(num_done):
        case.course.begin_call(100)
        case.course.end_call(100, 10, call_cost(100, 10))
    return case


@pytest.mark.parametrize("model", [None, Says(700.0)])
def test_a_plan_told_on_the_way_is_followed_alone(model):
    """One call is done, forty like it are to come; no model has learned what that means."""
    predictor = OnlinePredictor(model=model)
    case = begun(predictor)
    predictor.revise(case)
    for told in (predictor.replan(case, BURST), predictor.revise(case)):
        assert told.cost == 41 * call_cost(100, 10)


def test_before_a_call_has_ended_it_is_taken_at_its_word():
    """What plans told at arrival are worth says nothing of it."""
    predictor = OnlinePredictor()
    for _ in range(2 * NUM_TRUSTED):
        ended(predictor, 50.0 * call_cost(100, 10), declared=call_cost(100, 10))
    told = predictor.replan(begun(predictor, num_done=0), BURST)
    assert (told.cost, told.source) == (41 * call_cost(100, 10), "plan")


def test_what_was_told_on_the_way_is_not_learned_as_told_at_arrival():
    """A model that is to predict arrivals must see them as they were."""
    kept = []
    predictor = OnlinePredictor(keep=kept.append)
    case = begun(predictor)
    predictor.replan(case, BURST)
    predictor.observe(sample(500.0), case)
    assert [example.question.plan for example in kept] == [None]


def test_an_absurd_plan_told_on_the_way_is_counted_and_passed_over():
    """What was known goes on counting."""
    predictor = OnlinePredictor()
    case = begun(predictor)
    predictor.replan(case, BURST)
    before = case.prediction.cost
    absurd = Plan((Stage("map", calls=1_000_000, prompt_tokens=100_000_000),))
    assert predictor.replan(case, absurd).cost == before
    assert predictor.ladder.num_absurd == 1


def test_a_type_is_scouted_where_the_first_call_tells_much():
    """And a type where it tells nothing is not."""
    costs = iter([1_000, 9_000] * 20)
    predictor = OnlinePredictor(
        model=Says(lambda case: 3_000.0 if not case.course.num_done or told == "blind" else cost)
    )
    for told in ("seen", "blind"):
        for _ in range(10):
            cost = float(next(costs))
            ended(predictor, cost, Question(told), app_type=told)
    assert predictor.open(Question("seen")).prediction.is_scouted
    assert not predictor.open(Question("blind")).prediction.is_scouted


def test_a_plan_that_leaves_later_calls_open_is_scouted_at_once():
    """Nothing has ended yet; unless scouts are off."""
    question = Question("t", plan=Plan((Stage("extract"), Stage("query", calls=(1, 20)))))
    assert OnlinePredictor().open(question).prediction.is_scouted
    assert not OnlinePredictor(scouts=False).open(question).prediction.is_scouted


@pytest.mark.parametrize("text", ["", "\x00\xff\x00", "\ud800", "x" * 1_000_000, "漢字かな"])
def test_odd_texts_are_answered(text):
    """Empty, binary, half a surrogate pair, a megabyte, another script."""
    case = OnlinePredictor(keep=lambda example: None).open(Question("t", input_text=text))
    assert case.prediction.cost > 0
    assert case.text.num_chars == len(text)


def test_more_is_known_of_a_type_once_one_has_ended():
    """Who has shown nothing yet is asked again; who runs, and who is of another type, is not."""
    predictor = OnlinePredictor()
    waiting, runs = (predictor.open(Question("t")) for _ in range(2))
    runs.course.begin_call(100)
    runs.course.end_call(100, 10, call_cost(100, 10))
    other = predictor.open(Question("other"))
    ended(predictor, 70_000.0)
    learned = predictor.take_learned()
    assert [learned.concerns(case) for case in (waiting, runs, other)] == [True, False, False]
    assert predictor.take_learned() is None
    assert predictor.revise(waiting).cost == pytest.approx(70_000)
    assert waiting.standing.num_seen == 1


def test_another_model_is_asked_about_all_who_wait():
    """Whatever their type."""
    predictor = OnlinePredictor()
    waiting = predictor.open(Question("t"))
    predictor.use(Says(5.0))
    assert predictor.take_learned().concerns(waiting)


def test_what_calls_produce_is_learned_before_applications_end():
    """A plan without output tokens is reckoned with what others' first calls have produced."""
    predictor = OnlinePredictor()
    question = Question("t", plan=Plan((Stage("map", calls=4, prompt_tokens=100),)))
    case = predictor.open(question)
    case.course.begin_call(100)
    case.course.end_call(100, 7, call_cost(100, 7))
    predictor.revise(case)
    assert predictor.open(question).prediction.cost == 4 * call_cost(100, 7)
    assert predictor.take_learned() is not None
