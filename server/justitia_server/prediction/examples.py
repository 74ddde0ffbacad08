"""
From examples to what a network is trained on: rows of numbers.

Every example gives a row for its arrival and one for each glimpse, twice: as it was, knowing what
its type had cost until then and nothing else of it, which is how a new type is asked; and as it
would be asked now, knowing its type by all its other applications. The second only for types with
`LEAST_OWN` examples. So one network learns to answer for both.

What one tenant can do to the predictions of others is bounded: only the pooled part is shared, a
type counts by the root of its examples, and a tenant for at most `MOST_OF_TENANT` of all where
there are others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..fairness.cost import CostModel
from .base import Case, Example, Prediction, Standing
from .course import Course
from .features import Lengths, Start, features_of, floor_of, start_of, state_of
from .network import NUM_MEMBERS, Rows
from .text import MOST_TEXTS, TextModel, fit_text

LEAST_OWN = 8
MOST_TYPES = 1_000
MOST_OF_TENANT = 0.5
WAS_WEIGHT = 0.4  # of a row as it was
GLIMPSES_WEIGHT = 1.5  # of all the glimpses of an application together, of its arrival 1
_UNASKED = Prediction(1.0, "prior")
Key = tuple[str, str]  # tenant and type


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """
    What is learned of one type outside the network.

    Attributes:
        number: Of its vector in the network, from 1.
        lengths: What is usual in it.
        text: What its texts tell, if anything.
    """

    number: int
    lengths: Lengths
    text: TextModel | None


@dataclass(slots=True)
class _Row:
    features: list[float]
    type_number: int
    log_base: float
    log_floor: float
    log_guess: float
    pull: float
    log_cost: float
    weight: float
    part: int
    state: int


def log_guess(start: Start, log_floor: float) -> float:
    """Return the logarithm of the guessed rest over the floor; see `network`."""
    return math.log(math.expm1(min(max(start.log_base - log_floor, 0.1), 50.0)))


def usual_lengths(examples: Sequence[Example]) -> Lengths:
    """Return the means of the logarithms of what *examples* show; plain guesses where nothing."""
    prompts = [each.question.first_prompt_tokens for each in examples]
    seen = [each.glimpses[-1] for each in examples if each.glimpses]
    return Lengths(
        float(np.mean([math.log(each.cost) for each in examples])),
        _mean([math.log(each) for each in prompts if each], math.log(512)),
        _mean(
            [math.log(max(each.output_tokens / max(each.num_done, 1), 1)) for each in seen],
            math.log(128),
        ),
        _mean([math.log1p(each.text.num_chars) for each in examples if each.text], math.log(200)),
    )


def _mean(of: Sequence[float], otherwise: float) -> float:
    return float(np.mean(of)) if of else otherwise


@dataclass(frozen=True, slots=True)
class Material:
    """
    All that training needs, and what it learns outside the network.

    Attributes:
        rows: What the network learns from.
        log_base: Of each row, the base that costs are relative to.
        states: Of each row, how far the application has come (`features.state_of`).
        lengths: What is usual in all.
        types: What is known of each type that has enough examples.
    """

    rows: Rows
    log_base: NDArray[np.float64]
    states: NDArray[np.int64]
    lengths: Lengths
    types: dict[Key, TypeFacts]


def material_of(examples: Sequence[Example], *, seed: int, cost_model: CostModel) -> Material:
    """Return what training on *examples* needs."""
    chance = random.Random(seed)
    pooled = usual_lengths(examples)
    weights = _type_weights(examples)
    types: dict[Key, TypeFacts] = {}
    rows: list[_Row] = []
    by_size = sorted(_by_type(examples).items(), key=lambda item: (-len(item[1]), item[0]))
    for order, (key, of) in enumerate(by_size):
        is_known = len(of) >= LEAST_OWN and len(types) < MOST_TYPES
        weight = weights[key] * (WAS_WEIGHT if is_known else 1.0)
        rows += _rows_as_was(of, pooled, weight, order % NUM_MEMBERS, cost_model)
        if is_known:
            parts = _dealt(of, chance)
            text, says = _read_texts(of, parts)
            types[key] = facts = TypeFacts(len(types) + 1, usual_lengths(of), text)
            rows += _rows_as_now(of, facts, says, parts, weights[key], cost_model, chance)
    bases = np.array([row.log_base for row in rows])
    states = np.array([row.state for row in rows])
    return Material(_stacked(rows), bases, states, pooled, types)


def _rows_as_was(
    of: Sequence[Example], pooled: Lengths, weight: float, part: int, cost_model: CostModel
) -> list[_Row]:
    """
    Return the rows of a type's examples as of a type that is not known.

    All are in one part, so that some members have not seen the type and tell honestly what their
    answers are worth for new ones.
    """
    rows = []
    for each in of:
        start = start_of(
            each.question, each.standing, each.text, pooled, cost_model, is_known=False
        )
        early = LEAST_OWN / (LEAST_OWN + each.standing.num_seen)  # later it will be known
        rows += _rows(each, start, 0, early * weight, part, cost_model)
    return rows


def _rows_as_now(
    of: Sequence[Example],
    facts: TypeFacts,
    says: dict[int, float],
    parts: Sequence[int],
    weight: float,
    cost_model: CostModel,
    chance: random.Random,
) -> list[_Row]:
    """Return the rows of a type's examples as they would be asked now."""
    rows = []
    for place, (each, part) in enumerate(zip(of, parts, strict=True)):
        start = start_of(
            each.question, _standing(of, chance), each.text, facts.lengths, cost_model,
            is_known=True, text_says=says.get(place),
        )  # fmt: skip
        rows += _rows(each, start, facts.number, weight, part, cost_model)
    return rows


def _by_type(examples: Sequence[Example]) -> dict[Key, list[Example]]:
    of: dict[Key, list[Example]] = {}
    for each in examples:
        of.setdefault((each.question.tenant, each.question.app_type), []).append(each)
    return of


def _type_weights(examples: Sequence[Example]) -> dict[Key, float]:
    """Return what an example of each type counts."""
    num = {key: len(of) for key, of in _by_type(examples).items()}
    total = {key: math.sqrt(count) for key, count in num.items()}
    of_tenant: dict[str, float] = {}
    for (tenant, _), weight in total.items():
        of_tenant[tenant] = of_tenant.get(tenant, 0.0) + weight
    everything = sum(of_tenant.values())
    for key in total:
        mine = of_tenant[key[0]]
        others = everything - mine
        if others:
            total[key] *= min(1.0, MOST_OF_TENANT / (1 - MOST_OF_TENANT) * others / mine)
    return {key: total[key] / num[key] for key in num}


def _read_texts(
    of: Sequence[Example], parts: list[int]
) -> tuple[TextModel | None, dict[int, float]]:
    """
    Return what the texts of a type tell, and of each with its like left out.

    Changes: *parts*, so that repeats are in one.
    """
    told = [place for place, each in enumerate(of) if each.text][-MOST_TEXTS:]
    if len(told) < LEAST_OWN:
        return None, {}
    texts = [text for place in told if (text := of[place].text)]
    logs = np.log([of[place].cost for place in told])
    fitted = fit_text(texts, logs - logs.mean())
    for group in fitted.groups:
        for member in group:
            parts[told[member]] = parts[told[group[0]]]
    if fitted.model is None:
        return None, {}
    return fitted.model, {
        place: float(value) for place, value in zip(told, fitted.left_out, strict=True)
    }


def _dealt(of: Sequence[Example], chance: random.Random) -> list[int]:
    """Return a part for each, all equally often, at random."""
    parts = [place % NUM_MEMBERS for place in range(len(of))]
    chance.shuffle(parts)
    return parts


def _standing(of: Sequence[Example], chance: random.Random) -> Standing:
    """
    Return how a type stands by a random part of its examples: it will stand otherwise later.

    The part may hold the example that is asked for. Were that left out each time, an example would
    stand the lower the more it cost, and this is what would be learned.
    """
    drawn = chance.sample(of, chance.randint(min(len(of), LEAST_OWN // 2), len(of)))
    logs = np.log([each.cost for each in drawn])
    return Standing(len(drawn), float(np.median(logs)), float(logs.std()))


def _rows(
    example: Example, start: Start, number: int, weight: float, part: int, cost_model: CostModel
) -> list[_Row]:
    """Return the rows of one example: at arrival, and at each glimpse."""
    total = sum(1 / (1 + place) for place in range(len(example.glimpses)))
    log_cost = math.log(example.cost)
    rows = []
    for place, course in enumerate((Course(), *example.glimpses)):
        case = Case(example.question, example.standing, _UNASKED, example.text, course)
        log_floor = math.log(floor_of(case, cost_model))
        counted = weight * (GLIMPSES_WEIGHT / place / total if place else 1.0)
        features = features_of(start, course, log_floor)
        guess = log_guess(start, log_floor)
        rows.append(
            _Row(
                features,
                number,
                start.log_base,
                log_floor,
                guess,
                start.pull,
                log_cost,
                counted,
                part,
                state_of(course.num_done, course.num_waves),
            )
        )
    return rows


def _stacked(rows: Sequence[_Row]) -> Rows:
    def column(name: str) -> NDArray[np.float32]:
        return np.array([getattr(row, name) for row in rows], dtype=np.float32)

    return Rows(
        column("features"),
        np.array([row.type_number for row in rows], dtype=np.int64),
        column("log_floor"),
        column("log_guess"),
        column("pull"),
        column("log_cost"),
        column("weight"),
        np.array([row.part for row in rows], dtype=np.int64),
    )
