"""The learned model: what it predicts, how sure it is, and its bytes."""

import math
import random

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import COMPUTE, KV_TOKEN_TIME, call_cost
from justitia_server.prediction.base import Case, Example, Prediction, Question, Standing
from justitia_server.prediction.course import Course
from justitia_server.prediction.hashing import hash_text
from justitia_server.prediction.learned import LearnedModel, train
from justitia_server.prediction.modelfile import ModelUnreadable


def fan_out(number, *, app_type="verify", tenant="default", cost_model=KV_TOKEN_TIME):
    """
    Return one call, then as many as it found; how many its prompt tells in part.

    So it is known in part at arrival, and nearly all of it after the first call.
    """
    chance = random.Random(f"{app_type}-{number}")
    num_calls = chance.randint(1, 20)
    prompt = 200 + round(30 * num_calls * chance.uniform(0.5, 2))
    course = Course()
    course.begin_call(prompt)
    course.end_call(prompt, 50, cost_model.call_cost(prompt, 50))
    outputs = [chance.randint(80, 120) for _ in range(num_calls)]
    for _ in outputs:
        course.begin_call(500)
    rest = sum(cost_model.call_cost(500, output) for output in outputs)
    question = Question(app_type, tenant, first_prompt_tokens=prompt)
    return Example(question, Standing(), None, (course,), float(course.cost + rest))


def steady(number, *, app_type="steady"):
    """Return one that costs about the same each time."""
    chance = random.Random(f"{app_type}-{number}")
    cost = 1e5 * math.exp(chance.gauss(0, 0.1))
    return Example(Question(app_type, first_prompt_tokens=100), Standing(), None, (), cost)


MEDIANS = {"verify": 6e5, "steady": 1e5, "map": 1.6e6, "ask": 3e5}


def case_of(example, *, course=None):
    """Return the question put by *example*, its type standing by 20 others."""
    standing = Standing(20, math.log(MEDIANS.get(example.question.app_type, 1e5)), 0.5)
    unasked = Prediction(1.0, "prior")
    return Case(example.question, standing, unasked, example.text, course or Course())


def log_rmse(model, examples, *, is_seen):
    errors = [
        math.log(model.predict(case_of(each, course=each.glimpses[0] if is_seen else None)).cost)
        - math.log(each.cost)
        for each in examples
    ]
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


TRAINING = [fan_out(number) for number in range(60)] + [steady(number) for number in range(60)]
NEW = [fan_out(number) for number in range(1000, 1100)]


@pytest.fixture(scope="module")
def model():
    return train(TRAINING, seed=1)


def test_what_tells_the_cost_at_arrival_is_learned(model):
    """Better than the median of the type by a third."""
    logs = sorted(math.log(each.cost) for each in TRAINING[:60])
    median = math.sqrt(sum((logs[30] - math.log(each.cost)) ** 2 for each in NEW) / len(NEW))
    assert log_rmse(model, NEW, is_seen=False) < 0.67 * median


def test_what_has_unfolded_halves_the_error(model):
    """The calls that the first one led to are counted."""
    before = log_rmse(model, NEW, is_seen=False)
    assert log_rmse(model, NEW, is_seen=True) < 0.5 * before


def test_types_are_told_apart(model):
    """Each is predicted at about its own cost."""
    cost = model.predict(case_of(steady(1000))).cost
    assert cost == pytest.approx(1e5, rel=0.2)


@pytest.mark.parametrize("is_seen", [False, True])
def test_four_of_five_costs_lie_in_their_intervals(model, is_seen):
    """The interval is neither empty talk nor as wide as can be."""
    within = 0
    for each in NEW:
        told = model.predict(case_of(each, course=each.glimpses[0] if is_seen else None))
        assert told.low <= told.cost <= told.high
        within += told.low <= each.cost <= told.high
    assert 68 <= within <= 97


def test_nothing_is_predicted_below_what_was_used(model):
    """Each open call gives one token at least; much was used already, and is seen at once."""
    course = Course()
    course.begin_call(300)
    course.end_call(300, 4_000, call_cost(300, 4_000))
    course.begin_call(2_000)
    course.begin_call(3_000)
    told = model.predict(case_of(steady(1), course=course))
    least = call_cost(300, 4_000) + 2_001 + 3_001
    assert told.cost >= least
    assert told.low >= 0.999 * least


def test_a_new_type_is_answered_by_the_pooled_part(model):
    """And one that it knows by its own."""
    assert model.predict(case_of(steady(1, app_type="never seen"))).source == "pooled"
    assert model.predict(case_of(steady(1))).source == "own"


def test_what_was_seen_narrows_the_interval(model):
    """The more is known the less is left open."""
    at_arrival = [model.predict(case_of(each)) for each in NEW]
    later = [model.predict(case_of(each, course=each.glimpses[0])) for each in NEW]
    widths = [[math.log(told.high / told.low) for told in of] for of in (at_arrival, later)]
    assert sum(widths[1]) < 0.6 * sum(widths[0])


def test_a_known_type_is_predicted_by_what_the_model_knows_after_a_restart(model):
    """Nothing was seen since: the standing is empty, the model is not."""
    question = steady(1).question
    told = model.predict(Case(question, Standing(), Prediction(1.0, "prior")))
    assert told.cost == pytest.approx(1e5, rel=0.2)


def test_a_new_type_is_predicted_near_where_it_stands(model):
    """What its tenant's first applications have cost says more than what others cost."""
    question = Question("never seen", first_prompt_tokens=300)
    standing = Standing(20, math.log(3e7), 0.2)
    told = model.predict(Case(question, standing, Prediction(1.0, "prior")))
    assert 1e7 < told.cost < 1e8


def test_one_tenant_does_not_move_the_type_of_another():
    """Types are learned per tenant, whatever their names."""
    mine = [steady(number) for number in range(40)]
    theirs = [
        Example(Question("steady", "mallory", first_prompt_tokens=100), Standing(), None, (), 1e9)
        for _ in range(400)
    ]
    told = train(mine + theirs, seed=1).predict(case_of(steady(1000)))
    assert told.cost == pytest.approx(1e5, rel=0.3)


def test_a_declared_fan_out_is_used():
    """What costs ten times as much when ten times the calls are declared is learned so."""

    def planned(number):
        calls = random.Random(number).randint(2, 60)
        plan = Plan((Stage("map", calls=calls), Stage("reduce")))
        question = Question("map", plan=plan, first_prompt_tokens=1000)
        return Example(question, Standing(), None, (), float((calls + 1) * call_cost(1000, 50)))

    model = train([planned(number) for number in range(60)], seed=1)
    errors = [
        abs(math.log(model.predict(case_of(new)).cost / new.cost))
        for new in (planned(number) for number in range(900, 940))
    ]
    assert sum(errors) / len(errors) < 0.1


def test_text_tells_large_from_small():
    """Of two applications alike but for their texts."""

    def asked(number):
        is_long = number % 2 == 0
        text = hash_text(f"{'write a book' if is_long else 'answer yes or no'} on matter {number}")
        cost = 1e6 if is_long else 1e5
        return Example(Question("ask", first_prompt_tokens=100), Standing(), text, (), cost)

    model = train([asked(number) for number in range(60)], seed=1)
    long_one, short_one = (model.predict(case_of(asked(number))).cost for number in (900, 901))
    assert long_one > 3 * short_one


def test_equal_seeds_give_equal_models():
    """Nothing depends on the clock, the process or the order of a set."""
    one, other = (train(TRAINING[30:90], seed=7) for _ in range(2))
    case = case_of(NEW[0])
    assert one.predict(case).cost == other.predict(case).cost


def test_a_model_is_read_back_from_its_bytes(model):
    """With types, texts, intervals and all."""
    again = LearnedModel.from_bytes(model.to_bytes())
    for each in (*NEW[:5], steady(1000), steady(1, app_type="never seen")):
        assert again.predict(case_of(each)) == model.predict(case_of(each))
    seen = case_of(NEW[0], course=NEW[0].glimpses[0])
    assert again.predict(seen) == model.predict(seen)


def test_bytes_that_are_no_model_are_refused(model):
    """Empty, cut, changed, or of something else: by one error that names what to do."""
    raw = model.to_bytes()
    for wrong in (b"", b"no model", raw[: len(raw) // 2], raw[:200] + b"\x00" * 50 + raw[250:]):
        with pytest.raises(ModelUnreadable, match="train anew"):
            LearnedModel.from_bytes(wrong)


def test_pickled_objects_are_not_loaded(tmp_path):
    """A file that would run code when it is read is refused."""
    import numpy as np

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("!",))

    file = tmp_path / "model"
    with file.open("wb") as opened:
        np.savez(opened, told=np.array([Trap()], dtype=object))
    with pytest.raises(ModelUnreadable):
        LearnedModel.from_bytes(file.read_bytes())
    assert not (tmp_path / "sprung").exists()


def test_a_batch_is_answered_as_one_by_one(model):
    """Up to the last bits of single precision."""
    batch = model.predict_batch([case_of(each) for each in NEW[:64]])
    for told, each in zip(batch, NEW, strict=False):
        assert told.cost == pytest.approx(model.predict(case_of(each)).cost, rel=1e-4)


def test_another_model_does_not_use_what_the_first_kept_in_a_case(model):
    """A new version answers running applications with its own eyes."""
    case = case_of(steady(1000))
    model.predict(case)
    other = train([steady(number, app_type="other") for number in range(30)], seed=3)
    told = other.predict(case)
    assert told.source == "pooled"
    assert told.cost == other.predict(case_of(steady(1000))).cost


def test_absurd_questions_are_answered_with_a_number(model):
    """The longest plan, the longest prompt, nothing at all."""
    stage = Stage("s", calls=1_000_000, loop=1_000_000, prompt_tokens=10**8, output_tokens=10**8)
    plan = Plan((stage,) * 32)
    for question in (
        Question("x", plan=plan, first_prompt_tokens=10**8),
        Question("verify", plan=plan),
        Question("x"),
        Question("verify", first_prompt_tokens=0),
        Question("x", plan=Plan(())),
    ):
        told = model.predict(Case(question, Standing(), Prediction(1.0, "prior")))
        assert 0 < told.cost < math.inf
        assert 0 <= told.low <= told.cost <= told.high < math.inf


def test_costs_of_another_unit_are_learned_in_it():
    """The floor is reckoned in the unit of the policy."""
    examples = [fan_out(number, cost_model=COMPUTE) for number in range(40)]
    model = train(examples, seed=1, cost_model=COMPUTE)
    new = fan_out(1000, cost_model=COMPUTE)
    told = model.predict(Case(new.question, Standing(), Prediction(1.0, "prior")))
    assert 0.2 < told.cost / new.cost < 5
    assert LearnedModel.from_bytes(model.to_bytes()).predict(case_of(new)).cost > 0


def test_too_few_examples_are_refused():
    """A model of nothing is none."""
    with pytest.raises(ConfigurationError, match="at least 2 examples, there are 1"):
        train([steady(1)], seed=1)


def test_a_cost_of_nothing_is_refused():
    """By its place in the examples."""
    nothing = Example(Question("t"), Standing(), None, (), 0.0)
    with pytest.raises(ConfigurationError, match=r"examples\[1\]\.cost"):
        train([steady(1), nothing], seed=1)


def test_two_examples_are_enough_to_answer():
    """The first applications of a server are learned from, too."""
    told = train([steady(1), steady(2)], seed=1).predict(case_of(steady(3)))
    assert told.source == "pooled"
    assert 1e4 < told.cost < 1e6
