"""
Agents as of 2026: long prompts that grow turn by turn, nearly all of it cached, tools in between.

Two kinds are generated (their types begin with `generated_`): a coding agent, after the published
summary of Copilot's sessions (31 calls of 68k prompt and 528 output tokens a session, 86 % cached),
a third of that in length so that several sessions fit one GPU; and a researcher that sends out
sub-agents. Two are traces: tau-bench and HotpotQA. Every prompt begins with the one before it, so
all of it is told to be shared within the application; answers that come back in the next prompt
are computed again, since the simulator's prompts do not hold them.
"""

from __future__ import annotations

import random

from justitia_server.simulation.shipped import named_families
from justitia_server.simulation.workload import Application

from .kinds import Calls

NUM_EACH = 40


def coding_agent(chance: random.Random) -> Calls:
    """A serial loop: a long preamble, files read and commands run, a short answer each turn."""
    calls = Calls()
    prompt = chance.uniform(6_000, 14_000)
    last: list[int] = []
    for turn in range(min(int(chance.lognormvariate(2.9, 0.5)), 60)):
        output = min(chance.lognormvariate(5.3, 0.9), 4_000)
        delay = {"delay_s": round(min(chance.lognormvariate(0.7, 1.0), 60), 3)} if turn else {}
        last = [_in_app(calls, prompt, output, last, **delay)]
        prompt += output + chance.lognormvariate(6.3, 0.9)
    return calls


def research_agent(chance: random.Random) -> Calls:
    """A plan, three to six sub-agents of a few turns each at the same time, and a long report."""
    calls = Calls()
    plan = _in_app(calls, chance.uniform(2_000, 4_000), chance.uniform(300, 700), [])
    ends: list[int] = []
    for _ in range(chance.randint(3, 6)):
        prompt, last = chance.uniform(3_000, 6_000), plan
        for _ in range(chance.randint(3, 8)):
            # A sub-agent's context is its own: only its preamble is the application's.
            last = calls.add(
                prompt, chance.uniform(80, 300), [last],
                shared_prefix_tokens=2_000, prefix_scope="app",
                delay_s=round(min(chance.lognormvariate(0.5, 0.8), 30), 3),
            )  # fmt: skip
            prompt += chance.lognormvariate(7.0, 0.6)
        ends.append(last)
    calls.add(
        chance.uniform(8_000, 16_000), chance.uniform(1_000, 2_500), ends,
        shared_prefix_tokens=2_000, prefix_scope="app",
    )  # fmt: skip
    return calls


def _in_app(calls: Calls, prompt: float, output: float, after: list[int], **told: float) -> int:
    shared = {"shared_prefix_tokens": max(int(prompt), 1), "prefix_scope": "app"}
    return calls.add(prompt, output, after, **shared, **told)


def agent_families(seed: int = 0) -> dict[str, list[Application]]:
    """Return the four families."""
    generated = {
        f"generated_{kind.__name__}": [
            Application(
                app_id=f"{kind.__name__}-{number}",
                app_type=f"generated_{kind.__name__}",
                calls=list(kind(random.Random(f"{kind.__name__}-{seed}-{number}"))),
            )
            for number in range(NUM_EACH)
        ]
        for kind in (coding_agent, research_agent)
    }
    return {**named_families(("tau_bench_airline", "hotpotqa_react")), **generated}
