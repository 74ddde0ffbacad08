"""Examples as bytes and as JSON: how they are stored, and how they are handed out."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import asdict, fields
from typing import Any

from justitia_sdk.plan import Plan, Stage

from .base import Example, HashedText, Question, Standing
from .course import Course

MOST_TEXT_CHARS = 8_192  # of an input text that is stored
MOST_BYTES = 65_536  # of one example, compressed


def pack(example: Example, *, keep_text: bool) -> bytes:
    """
    Return *example* in bytes, its input text only if *keep_text*, and not more than its beginning.

    Raises:
        ValueError: It takes more than `MOST_BYTES`, or a number in it makes no sense.
    """
    if not 0 < example.cost < math.inf:
        raise ValueError(f"its cost must be finite and above 0, not {example.cost}")
    record = as_fields(example, with_text=keep_text)
    if keep_text and example.question.input_text:
        record["question"]["input_text"] = example.question.input_text[:MOST_TEXT_CHARS]
    told = json.dumps(record, separators=(",", ":"), allow_nan=False)
    packed = zlib.compress(told.encode(), 1)
    if len(packed) > MOST_BYTES:
        raise ValueError(f"an example takes {len(packed)} bytes, more than {MOST_BYTES}")
    return packed


def unpack(packed: bytes) -> Example:
    """
    Return the example that `pack` gave; the inverse, but for what it leaves out.

    Raises:
        ValueError: These bytes are none.
    """
    try:
        record = json.loads(zlib.decompress(packed))
        question = record["question"]
        plan, text = question.pop("plan"), record["text"]
        return Example(
            Question(**question, plan=None if plan is None else Plan(_stages(plan["stages"]))),
            Standing(**record["standing"]),
            text and HashedText(tuple(text["places"]), tuple(text["counts"]), text["num_chars"]),
            tuple(Course(**glimpse) for glimpse in record["glimpses"]),
            float(record["cost"]),
            float(record["ended_at"]),
        )
    except (zlib.error, KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"these bytes are no example: {exc!r}") from exc


def as_fields(example: Example, *, with_text: bool) -> dict[str, Any]:
    """Return *example* as plain JSON fields, its input text only if asked for."""
    question = _shallow(example.question)
    if example.question.plan is not None:
        question["plan"] = asdict(example.question.plan)
    if not with_text:
        question["input_text"] = None
    return {
        "question": question,
        "standing": _shallow(example.standing),
        "text": None if example.text is None else _shallow(example.text),
        "glimpses": [_shallow(glimpse) for glimpse in example.glimpses],
        "cost": example.cost,
        "ended_at": example.ended_at,
    }


def _shallow(record: Question | Standing | HashedText | Course) -> dict[str, Any]:
    """Return the fields; `asdict` would copy every hash of a text, which takes most of the time."""
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _stages(stages: list[dict[str, Any]]) -> tuple[Stage, ...]:
    made = []
    for stage in stages:
        calls = stage["calls"]
        made.append(Stage(**{**stage, "calls": tuple(calls) if isinstance(calls, list) else calls}))
    return tuple(made)
