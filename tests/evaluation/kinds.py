"""
The four of the paper's nine kinds that no open trace exists for, generated to their structure.

The shapes are those described for FacTool (equation verification), Reflexion (code checking),
plan-and-solve with parallel executors (plan and execution) and Graph of Thoughts (document merging,
80 sequences in six levels). Token counts are drawn from ranges that these programs' prompts have;
they are NOT measured. Their types begin with `generated_`, so that nobody takes them for traces.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from justitia_server.simulation.workload import Application

NUM_EACH = 60


class Calls(list[dict[str, Any]]):
    """The calls of an application, numbered as they are added."""

    def add(self, prompt: float, output: float, after: Sequence[int] = (), **told: Any) -> int:
        """Add a call and return its id."""
        tokens = {"prompt_tokens": max(int(prompt), 1), "output_tokens": max(int(output), 1)}
        self.append({"id": len(self), "after": sorted(after), **tokens, **told})
        return len(self) - 1


def equation_verification(chance: random.Random) -> Calls:
    """One call extracts the claims, then one each writes a snippet that checks it; no last call."""
    calls = Calls()
    num_claims = chance.randint(2, 9)
    extraction = calls.add(chance.uniform(600, 1100), num_claims * chance.uniform(25, 45))
    for _ in range(num_claims):
        calls.add(chance.uniform(450, 650), chance.uniform(40, 110), [extraction])
    return calls


def code_checking(chance: random.Random) -> Calls:
    """Code and tests are written, then up to three times thought over and written again."""
    calls = Calls()
    code = chance.uniform(120, 380)
    written = calls.add(chance.uniform(350, 700), code)
    tests = calls.add(chance.uniform(500, 800), chance.uniform(120, 280))
    last = [written, tests]
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        thought = calls.add(chance.uniform(800, 1100) + code, chance.uniform(60, 160), last)
        last = [calls.add(chance.uniform(900, 1300) + code, code, [thought])]
    return calls


def plan_and_execution(chance: random.Random) -> Calls:
    """A planner, executors some of which wait for an earlier one, and a last call that joins."""
    calls = Calls()
    planner = calls.add(chance.uniform(500, 900), chance.uniform(120, 260))
    executors: list[int] = []
    for _ in range(chance.randint(3, 8)):
        waits = executors and chance.random() < 0.4
        before = chance.choice(executors) if waits else planner
        prompt = chance.uniform(450, 900) + (chance.uniform(100, 250) if waits else 0)
        executors.append(calls.add(prompt, chance.uniform(80, 240), [before]))
    calls.add(400 + 150 * len(executors), chance.uniform(150, 320), executors)
    return calls


def document_merging(chance: random.Random) -> Calls:
    """
    Five drafts, three scores each; five mergers of the best three; ten refinements of the best.

    The four documents together have 922, 1,173, 1,444 tokens (p10, p50, p90).
    """
    calls = Calls()
    documents = max(chance.gauss(1180, 205), 600)
    merged = documents * chance.uniform(0.45, 0.7)

    def scored(prompt: float, number: int, after: Sequence[int]) -> list[int]:
        drafts = [
            calls.add(prompt, merged * chance.uniform(0.9, 1.1), after) for _ in range(number)
        ]
        return [
            calls.add(documents + merged + 250, chance.uniform(8, 25), [draft], samples=3)
            for draft in drafts
        ]

    scores = scored(documents + 220, 5, ())
    scores = scored(documents + 3 * merged + 260, 5, scores)
    scored(documents + merged + 300, 10, scores)
    return calls


KINDS: dict[str, Callable[[random.Random], Calls]] = {
    "generated_equation_verification": equation_verification,
    "generated_code_checking": code_checking,
    "generated_plan_and_execution": plan_and_execution,
    "generated_document_merging": document_merging,
}


def generated_families(seed: int = 0) -> dict[str, list[Application]]:
    """Return the four kinds, `NUM_EACH` applications each."""
    return {
        name: [
            Application(
                app_id=f"{name}-{number}",
                app_type=name,
                calls=list(kind(random.Random(f"{name}-{seed}-{number}"))),
            )
            for number in range(NUM_EACH)
        ]
        for name, kind in KINDS.items()
    }
