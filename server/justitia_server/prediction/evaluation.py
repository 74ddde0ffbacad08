"""
How good predictions would have been: on applications that the model has not seen.

`back_test` learns from the older four fifths and predicts the newest, as a server does that has run
for a while; `try_on` asks a model that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .base import Example, Model
from .course import Course
from .scoring import Answer, Scores, answer, median_answer, scores, typical_cost
from .training import HELD_BACK, LEAST_TO_TRY, Method


@dataclass(frozen=True, slots=True)
class Tried:
    """
    What was said of one application, and what it cost.

    Attributes:
        example: The application.
        at_arrival: The model's word before it ran.
        after_first: The same after its first finished call; None if that was not seen.
        median: The word of its type's median.
    """

    example: Example
    at_arrival: Answer
    after_first: Answer | None
    median: Answer


@dataclass(frozen=True, slots=True)
class Grades:
    """The measures over some applications: of the model, of it later, and of the median."""

    at_arrival: Scores
    after_first: Scores | None
    median: Scores


def back_test(
    examples: Sequence[Example], method: Method, *, seed: int, held_back: float = HELD_BACK
) -> list[Tried]:
    """
    Learn from the older of *examples*, and try the model on the newest.

    Args:
        examples: In the order in which they ended, `LEAST_TO_TRY` at least.
        method: How models are made.
        seed: Of all chance.
        held_back: Part of them that is tried.

    Raises:
        ValueError: There are too few.
    """
    if len(examples) < LEAST_TO_TRY:
        raise ValueError(f"{len(examples)} examples are too few: {LEAST_TO_TRY} are needed")
    num_learned = len(examples) - max(round(held_back * len(examples)), 1)
    learned = examples[:num_learned]
    model = method.train(learned, seed)
    return try_on(model, examples[num_learned:], typical=typical_cost(learned))


def try_on(model: Model, examples: Iterable[Example], *, typical: float) -> list[Tried]:
    """Ask *model* of each of *examples*; *typical* is said of types of which none had ended."""
    return [
        Tried(
            each,
            answer(model, each, otherwise=typical),
            answer(model, each, course=seen, otherwise=typical) if seen else None,
            median_answer(each, otherwise=typical),
        )
        for each in examples
        for seen in [_after_first(each)]
    ]


def grades(tried: Sequence[Tried]) -> Grades:
    """Return the measures over *tried*, at least one."""
    later = [each.after_first for each in tried if each.after_first is not None]
    return Grades(
        scores([each.at_arrival for each in tried]),
        scores(later) if later else None,
        scores([each.median for each in tried]),
    )


def grades_by_type(tried: Sequence[Tried]) -> dict[tuple[str, str], Grades]:
    """Return the measures by tenant and type, the type with most applications first."""
    by_type: dict[tuple[str, str], list[Tried]] = {}
    for each in tried:
        question = each.example.question
        by_type.setdefault((question.tenant, question.app_type), []).append(each)
    return {key: grades(of) for key, of in sorted(by_type.items(), key=_most_first)}


def _after_first(example: Example) -> Course | None:
    """Return the course as it was after exactly one finished call, if it was noted then."""
    first = example.glimpses[0] if example.glimpses else None
    return first if first and first.num_done == 1 else None


def _most_first(item: tuple[tuple[str, str], list[Tried]]) -> tuple[int, tuple[str, str]]:
    key, of = item
    return -len(of), key
