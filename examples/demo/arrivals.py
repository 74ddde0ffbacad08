"""Which applications arrive when: drawn from a seed, the same for every server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from corpus import documents

ORDERS = ("large-first", "small-first")
LARGE = "dossier_summary"
SMALL = ("research_agent", "self_consistency", "tool_loop")
NUM_EACH = 10
MEAN_GAP_S = 0.08

QUESTIONS = (
    "Must the contractor come within two hours when ammonia has been detected?",
    "Was the standstill of the payment queue caused by the storage system?",
    "May the larkspur pump be used for drinking water?",
    "Did the library's visitors complain about the collection of books?",
    "Did Captain Ferrand load the ships in the order of their arrival?",
    "Is travelling time of the engineers charged to the cooperative?",
    "Were payments lost or sent twice during the incident in March?",
    "Does the pump start again by itself when the converter is too hot?",
    "Can the hall on the ground floor be booked by anybody with a card?",
    "Did the piers of the harbour remove the sand at the river's mouth?",
)
TOOL_SCRIPTS = (
    ("read_paragraph", "calculate", "count_words", "read_paragraph"),
    ("count_words", "read_paragraph", "read_paragraph", "calculate", "read_paragraph"),
    ("read_paragraph", "read_paragraph", "count_words", "calculate", "count_words", "calculate"),
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """
    One application and when it arrives.

    Attributes:
        app_id: Its name in the results.
        kind: Which of the four it is.
        arrival_s: Seconds after the start of the run.
        input: The dossier or the question.
        steps: The tools of an agent; a loop has as many turns as there are; else empty.
    """

    app_id: str
    kind: str
    arrival_s: float
    input: str
    steps: tuple[str, ...] = ()


def draw_arrivals(order: str, seed: int, *, num_each: int = NUM_EACH) -> list[Arrival]:
    """
    Return the run's applications by arrival: *num_each* of every kind.

    Only *order* decides whether the large or the small ones come first; the applications and the
    instants at which one of them arrives are those of *seed*. Gaps are exponential.

    Raises:
        ValueError: *order* is not one of `ORDERS`.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")
    draw = random.Random(seed)
    large = [_application(LARGE, index, draw) for index in range(num_each)]
    small = [_application(kind, index, draw) for index in range(num_each) for kind in SMALL]
    draw.shuffle(large)
    draw.shuffle(small)
    instants = _instants(len(large) + len(small), draw)
    in_order = large + small if order == "large-first" else small + large
    return [
        Arrival(*facts[:2], at, *facts[2:]) for at, facts in zip(instants, in_order, strict=True)
    ]


def _instants(count: int, draw: random.Random) -> list[float]:
    """Return the *count* instants of a Poisson process that starts with an arrival."""
    instants = [0.0]
    while len(instants) < count:
        instants.append(round(instants[-1] + draw.expovariate(1 / MEAN_GAP_S), 3))
    return instants


def _application(
    kind: str, index: int, draw: random.Random
) -> tuple[str, str, str, tuple[str, ...]]:
    """Return id, kind, input and steps of application *index* of *kind*; sizes go in turn."""
    name = f"{kind}-{index}"
    if kind == LARGE:
        return name, kind, _dossier(4 + index % 2, draw), ()
    question = draw.choice(QUESTIONS)
    steps: Sequence[str] = ()
    if kind == "research_agent":
        steps = TOOL_SCRIPTS[index % len(TOOL_SCRIPTS)]
    elif kind == "tool_loop":
        steps = ("think",) * (4 + index % 4)
    return name, kind, question, tuple(steps)


def _dossier(num_documents: int, draw: random.Random) -> str:
    """Return some of the documents as one text."""
    names = draw.sample(sorted(documents()), num_documents)
    return "\n\n".join(documents()[name] for name in names)
