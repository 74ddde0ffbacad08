"""
Applications as a predictor would have seen them, and the splits that keep repeats apart.

Every application's calls are replayed without load: a level of its graph is a wave, which begins
when the one before has ended. What is seen is noted each time a wave has ended and the next begun.
Plans are those a careful user would declare: what the program knows before its first call.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from justitia_sdk.plan import Plan, Stage
from justitia_server.fairness.cost import call_cost
from justitia_server.prediction.base import Example, Prediction, Question, Standing
from justitia_server.prediction.course import Course
from justitia_server.prediction.hashing import hash_text
from justitia_server.simulation.workload import Application, Call, read_applications

NUM_FOLDS = 5
NUM_TRAINING = 100  # of a type, as in the paper
QUOTA = 30  # applications of a family in the even mix
GLIMPSED_WAVES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20)
SAMPLES_DRAWN = 10  # of the self-consistency family, set in the program
NO_PREDICTION = Prediction(1.0, "prior")


@dataclass(frozen=True)
class Told:
    """
    One application of the evaluation.

    Attributes:
        app_id: Its id.
        group: What it may not be separated from in a split: its repeats.
        input_text: What it works on, if told.
        example: What a predictor knows of it; its standing is that of nobody.
    """

    app_id: str
    group: str
    input_text: str | None
    example: Example

    @property
    def family(self) -> str:
        return self.example.question.app_type


def read_families(folder: Path) -> dict[str, list[Told]]:
    """Return the applications of `folder/apps`, with the texts of `folder/inputs`, by family."""
    families = {}
    for path in sorted((folder / "apps").glob("*.jsonl")):
        texts = _texts(folder / "inputs" / path.name)
        families[path.stem] = [
            _told(each, texts.get(each.app_id)) for each in read_applications(path)
        ]
    return families


def _texts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {line["app_id"]: line["input_text"] for line in lines}


def _told(application: Application, text: str | None) -> Told:
    question = Question(
        application.app_type,
        plan=declared_plan(application),
        input_text=text,
        input_chars=None if text is None else len(text),
        first_prompt_tokens=application.calls[0].prompt_tokens,
    )
    hashed = None if text is None else hash_text(text)
    example = Example(question, Standing(), hashed, _glimpses(application), application.cost)
    return Told(application.app_id, _group(application, text), text, example)


def declared_plan(application: Application) -> Plan | None:
    """Return what the program knows of its structure before its first call, if anything."""
    family = application.app_type
    if family == "mapreduce_summarization":  # the article has been cut into pieces
        return Plan((Stage("map", calls=len(application.calls) - 1), Stage("reduce")))
    if family == "self_consistency_writing":
        return Plan((Stage("answer", calls=SAMPLES_DRAWN),))
    if family == "kbqa_verification":  # as many as there will be claims
        each = (1, 20)
        return Plan((Stage("extract"), Stage("query", calls=each), Stage("verify", calls=each)))
    return None


def _group(application: Application, text: str | None) -> str:
    """Return what repeats of one another share."""
    if application.app_type == "tau_bench_airline":
        return application.app_id.split("-")[1]
    if application.app_type == "kbqa_verification" and text:
        return text.splitlines()[0]
    return text or application.app_id


def _glimpses(application: Application) -> tuple[Course, ...]:
    """Replay the calls, a level of the graph at a time."""
    course, glimpses = Course(), []
    for wave in _waves(application):
        for prompt, _ in wave:
            course.begin_call(prompt)
        if course.num_waves - 1 in GLIMPSED_WAVES:
            glimpses.append(course.glimpse())
        for prompt, output in wave:
            course.end_call(prompt, output, call_cost(prompt, output))
    return tuple(glimpses)


def _waves(application: Application) -> list[list[tuple[int, int]]]:
    """Return prompt and output tokens of the calls of each level."""
    return [
        [(call.prompt_tokens, call.output_tokens) for call in level for _ in range(call.samples)]
        for level in levels(application)
    ]


def levels(application: Application) -> list[list[Call]]:
    """Return the calls of each level of its graph: those that wait for none, and so on."""
    level_of: list[int] = []
    found: list[list[Call]] = []
    for call in application.calls:
        level = 1 + max((level_of[before] for before in call.after), default=-1)
        level_of.append(level)
        if level == len(found):
            found.append([])
        found[level].append(call)
    return found


def fold_of(applications: Sequence[Told], seed: int) -> list[int]:
    """Return the fold of each application: groups are dealt out, the largest first."""
    chance = random.Random(f"folds-{seed}")
    sizes: dict[str, int] = {}
    for each in applications:
        sizes[each.group] = sizes.get(each.group, 0) + 1
    order = sorted(sizes, key=lambda group: (-sizes[group], chance.random()))
    load, fold = [0] * NUM_FOLDS, {}
    for group in order:
        fold[group] = min(range(NUM_FOLDS), key=lambda place: (load[place], chance.random()))
        load[fold[group]] += sizes[group]
    return [fold[each.group] for each in applications]


def drawn(applications: Sequence[Told], most: int, seed: int) -> list[Told]:
    """Return at most so many of them, in their order."""
    places = list(range(len(applications)))
    random.Random(f"draw-{seed}").shuffle(places)
    return [applications[place] for place in sorted(places[:most])]


def in_turn(applications: Sequence[Told]) -> list[Example]:
    """Return examples as they would have been learned: each with its type's standing until then."""
    costs: dict[str, list[float]] = {}
    examples = []
    for each in applications:
        before = costs.setdefault(each.family, [])
        examples.append(replace(each.example, standing=standing(before)))
        before.append(each.example.cost)
    return examples


def standing(costs: Sequence[float]) -> Standing:
    """Return what is known after applications of these *costs*."""
    logs = [float(np.log(cost)) for cost in costs[-100:]]
    if not logs:
        return Standing()
    return Standing(len(costs), statistics.median(logs), float(np.std(logs)))
