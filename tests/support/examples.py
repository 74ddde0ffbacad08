"""Examples and models for the tests of what is kept and trained."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from justitia_sdk.plan import Plan, Stage
from justitia_server.prediction.base import (
    Case,
    Example,
    HashedText,
    Prediction,
    Question,
    Standing,
)
from justitia_server.prediction.course import Course
from justitia_server.prediction.training import Method

PLAN = Plan((Stage("map", (2, 4), prompt_tokens=9), Stage("reduce", 1, loop=3, tool_s=0.5)))
DAY_S = 86_400.0


def example(cost=100.0, *, app_type="t", tenant="a", prompt=None, ended_at=0.0, **more) -> Example:
    """An example of which little is known but its cost."""
    question = Question(app_type, tenant, first_prompt_tokens=prompt, **more)
    return Example(question, Standing(), None, (), cost, ended_at)


def full_example(cost=100.0, *, text="a secret word") -> Example:
    """An example with everything an example may have."""
    return Example(
        Question("t", "a", PLAN, text, 4_000, 12, 1, 99),
        Standing(7, 3.5, 0.25),
        HashedText((3, 8, 2**24 - 1), (1, 2, 1), 4_000),
        (Course(num_begun=2, num_open=1, cost=5.0), Course(num_begun=3, num_done=3, cost=9.5)),
        cost,
        1_000.5,
    )


@dataclass(frozen=True)
class Proportional:
    """A model: so much for each token of the first prompt."""

    factor: float

    def predict(self, case: Case) -> Prediction | None:
        prompt = case.question.first_prompt_tokens
        if not prompt:
            return None
        cost = self.factor * prompt
        return Prediction(cost, "pooled", low=cost / 2, high=cost * 2)

    def to_bytes(self) -> bytes:
        return json.dumps(self.factor).encode()


def read(raw: bytes) -> Proportional:
    return Proportional(float(json.loads(raw)))


def learn(examples, seed) -> Proportional:
    """Train for real: the geometric mean of cost over prompt."""
    logs = [math.log(each.cost / each.question.first_prompt_tokens) for each in examples]
    return Proportional(math.exp(sum(logs) / len(logs)))


METHOD = Method(learn, read)
