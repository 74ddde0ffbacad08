"""What is measured of predictions: errors, order, intervals, cold start, the ceiling, latencies."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from justitia_server.prediction.base import Case, Example
from justitia_server.prediction.course import Course
from justitia_server.prediction.hashing import hash_text
from justitia_server.prediction.learned import LearnedModel, train
from justitia_server.prediction.scoring import Answer, log_rmse, median_answer, scores

from .predictor_data import NO_PREDICTION, NUM_TRAINING, QUOTA, Told, drawn, in_turn, standing

NUM_DRAWS = 20  # of the even mix, a split
SEEN = (0, 1, 5, 20, 50, 100)  # applications of a new type
LEAST_TESTED = 10
FIRST_TRAINING = 20  # applications ended
STRETCHES = ((20, 45), (45, 105), (105, 207))

Families = Mapping[str, Sequence[Told]]
ByFamily = Mapping[str, Sequence[Answer | None]]
Measures = dict[str, float | None]


def by_family(answers: ByFamily, seed: int) -> dict[str, Measures]:
    """Return the measures of each family, and of the even mix under "mix"."""
    told = {family: _scored(_given(of)) for family, of in answers.items()}
    draws = [_mix(answers, seed, number) for number in range(NUM_DRAWS)]
    told["mix"] = _mean_of([_scored(_given(each)) for each in draws])
    return told


def _mix(answers: ByFamily, seed: int, number: int) -> list[Answer | None]:
    """Draw at most the quota of each family; nothing twice."""
    chance = random.Random(f"mix-{seed}-{number}")
    return [
        each
        for family in sorted(answers)
        for each in chance.sample(answers[family], min(QUOTA, len(answers[family])))
    ]


def _given(answers: Iterable[Answer | None]) -> list[Answer]:
    return [each for each in answers if each is not None]


def _scored(answers: Sequence[Answer]) -> Measures:
    return asdict(scores(answers)) if answers else {}


def _mean_of(measures: Sequence[Measures]) -> Measures:
    told: Measures = {}
    for name in measures[0]:
        known = [value for each in measures if (value := each[name]) is not None]
        told[name] = statistics.fmean(known) if known else None
    return told


def progress(at_arrival: ByFamily, later: ByFamily, seed: int) -> dict[str, Any]:
    """
    Return the measures at arrival and later of the applications that still ran then.

    And "all", the mix of all applications, those that had ended at what they cost: there is nothing
    left to predict of them.
    """
    pairs = {
        family: list(zip(at_arrival[family], later[family], strict=True)) for family in at_arrival
    }
    before = {
        family: [first if then else None for first, then in of] for family, of in pairs.items()
    }
    known = {
        family: [then or replace(first, predicted=first.cost) for first, then in of if first]
        for family, of in pairs.items()
    }
    return {
        "before": by_family(before, seed),
        "after": by_family(later, seed),
        "all": by_family(known, seed)["mix"],
    }


def ceiling(families: Families, answers: ByFamily, seed: int) -> dict[str, Measures]:
    """
    Return the measures of one who has seen other runs of the same input.

    Told is the median of those; ours where there are none.
    """
    told = {}
    for family, of in families.items():
        known: dict[str, list[float]] = {}
        for each in of:
            known.setdefault(_input_of(each), []).append(each.example.cost)
        told[family] = [
            _by_others(answer, known[_input_of(each)])
            for each, answer in zip(of, answers[family], strict=True)
            if answer
        ]
    return by_family(told, seed)


def _input_of(told: Told) -> str:
    """Return what runs of the same input share; the answers checked by KBQA differ."""
    return told.app_id if told.family == "kbqa_verification" else told.group


def _by_others(answer: Answer, costs: Sequence[float]) -> Answer:
    others = list(costs)
    others.remove(answer.cost)
    return replace(answer, predicted=statistics.median(others)) if others else answer


def cold_start(families: Families, seeds: Iterable[int]) -> dict[str, Any]:
    """
    Return the log-error on a new type by how many of its applications were seen.

    By family and number, a list of one value a seed: "median" of those seen, "pooled" (a model of
    the other types that knows how those seen stand), "retrained" with those seen among the others.
    """
    told: dict[str, Any] = {}
    for seed in seeds:
        for family in families:
            for number, errors in _cold(families, family, seed).items():
                of = told.setdefault(family, {}).setdefault(str(number), {})
                for name, value in errors.items():
                    of.setdefault(name, []).append(value)
    return told


def _cold(families: Families, new: str, seed: int) -> dict[int, dict[str, float]]:
    others = [
        each
        for family, of in families.items()
        if family != new
        for each in in_turn(drawn(of, NUM_TRAINING, seed))
    ]
    random.Random(seed).shuffle(others)
    pooled = train(others, seed=seed)
    order = list(families[new])
    random.Random(f"cold-{seed}").shuffle(order)
    found = {}
    for number in SEEN:
        seen = order[:number]
        groups = {each.group for each in seen}
        test = [each for each in order[number:] if each.group not in groups]
        if len(test) < LEAST_TESTED:
            continue
        known = standing([each.example.cost for each in seen])
        asked = [replace(each.example, standing=known) for each in test]
        found[number] = {"pooled": _error(pooled, asked), "pooled_after": _error(pooled, asked, 1)}
        if number:
            told = [Answer(math.exp(known.log_median), each.cost) for each in asked]
            found[number]["median"] = log_rmse(told)
            retrained = train([*others, *in_turn(seen)], seed=seed)
            found[number]["retrained"] = _error(retrained, asked)
            found[number]["retrained_after"] = _error(retrained, asked, 1)
    return found


def _error(model: LearnedModel, asked: Sequence[Example], num_waves: int = 0) -> float:
    return log_rmse(
        ask(model, each, each.glimpses[0] if num_waves and each.glimpses else None)
        for each in asked
    )


def online(families: Families, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """
    Return the errors of learning from zero: the even mix in random order, one after another.

    Trained when 20 applications have ended and whenever there are half as many again. By stretch of
    the order, lists of one value a seed: ours at arrival and after the first stage, the median of
    the type so far (of all so far for a type not seen yet), and how many intervals hold.
    """
    told: list[dict[str, Any]] = [{"from": low, "to": high} for low, high in STRETCHES]
    for seed in seeds:
        chance = random.Random(f"online-{seed}")
        mixed = [
            each for of in families.values() for each in chance.sample(of, min(QUOTA, len(of)))
        ]
        chance.shuffle(mixed)
        rows = _online(in_turn(mixed), seed)
        for stretch in told:
            of = rows[stretch["from"] - FIRST_TRAINING : stretch["to"] - FIRST_TRAINING]
            for name, place in (("ours", 0), ("after", 1), ("median", 2)):
                stretch.setdefault(name, []).append(log_rmse(row[place] for row in of))
            within = [row[0].low <= row[0].cost <= row[0].high for row in of]
            stretch.setdefault("coverage", []).append(statistics.fmean(within))
    return told


def _online(examples: Sequence[Example], seed: int) -> list[tuple[Answer, Answer, Answer]]:
    """Return what is said of each application but the first: ours, ours later, the median."""
    rows = []
    next_training = FIRST_TRAINING
    model: LearnedModel | None = None
    for place, each in enumerate(examples):
        if place == next_training:
            model = train(examples[:place], seed=seed)
            next_training = int(1.5 * place)
        if model is not None:
            typical = statistics.median(before.cost for before in examples[:place])
            course = each.glimpses[0] if each.glimpses else None
            median = median_answer(each, otherwise=typical)
            rows.append((ask(model, each), ask(model, each, course), median))
    return rows


def ask(model: LearnedModel, example: Example, course: Course | None = None) -> Answer:
    """Return what *model* says of *example*, at arrival or after *course*."""
    seen = course.glimpse() if course else Course()
    told = model.predict(
        Case(example.question, example.standing, NO_PREDICTION, example.text, seen)
    )
    return Answer(told.cost, example.cost, told.low, told.high)


def latencies(families: Families) -> dict[str, float]:
    """Return seconds: of one prediction, of 64, of a revision, of training; medians."""
    mixed = [each for of in families.values() for each in drawn(of, NUM_TRAINING, 0)]
    random.Random(0).shuffle(mixed)
    examples = in_turn(mixed)
    one_type = in_turn(families["tau_bench_airline"][:100])
    train(examples[:20], seed=0)  # loads torch
    model = train(examples, seed=0)
    texts = [each.input_text or "" for each in mixed]

    def cases(number: int, *, hashing: bool) -> list[Case]:
        return [
            Case(
                each.question, each.standing, NO_PREDICTION,
                hash_text(text) if hashing else each.text,
            )
            for each, text in zip(examples[:number], texts[:number], strict=True)
        ]  # fmt: skip

    running = cases(64, hashing=False)
    model.predict_batch(running)
    for case, each in zip(running, examples, strict=False):
        case.course = each.glimpses[0] if each.glimpses else Course()
    twenty = (examples * 5)[:2000]
    return {
        "one_with_hashing_s": _median_s(
            lambda: [model.predict(case) for case in cases(64, hashing=True)], 64
        ),
        "one_hashed_s": _median_s(
            lambda: [model.predict(case) for case in cases(64, hashing=False)], 64
        ),
        "revision_s": _median_s(lambda: [model.predict(case) for case in running], 64),
        "batch_of_64_s": _median_s(lambda: model.predict_batch(cases(64, hashing=False)), 1),
        "batch_of_64_with_hashing_s": _median_s(
            lambda: model.predict_batch(cases(64, hashing=True)), 1
        ),
        "training_100_s": _median_s(lambda: train(one_type, seed=0), 1, 3),
        "training_7_types_s": _median_s(lambda: train(examples, seed=0), 1, 3),
        "training_2000_s": _median_s(lambda: train(twenty, seed=0), 1, 1),
        "num_examples_7_types": len(examples),
        "model_bytes": len(model.to_bytes()),
    }


def _median_s(act: Callable[[], object], number: int, times: int = 30) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        seconds.append((time.perf_counter() - began) / number)
    return statistics.median(seconds)


def points(families: Families, at_arrival: ByFamily, later: ByFamily) -> dict[str, Any]:
    """Return predicted and true costs for the picture: at arrival and after the first wave."""
    return {
        family: {
            "at_arrival": [[each.cost, each.predicted] for each in _given(at_arrival[family])],
            "later": [[each.cost, each.predicted] for each in _given(later[family])],
        }
        for family in families
    }
