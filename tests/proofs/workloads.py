"""
Random workloads, drawn from a seed: how many applications, how large, when, of whom.

Ranges are those of the claim: 5 to 60 applications of 1 to 30 parallel calls, p 50 to 600 and d 20
to 300 tokens a call, memory 4,000 to 20,000 tokens in blocks of 8, 16 or 32. Numbers of
applications and calls are drawn evenly on a logarithmic scale, so that small ones are common.
Arrivals: all at once; spread evenly over 0.3 to 1.5 times the total work; in bursts over as long.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

from justitia_server.fairness.cost import call_cost

from .driver import Application, Server, Stages

ARRIVALS = ("at once", "spread", "bursts")
MAX_WORK = 6_000  # iterations at full memory; a larger draw loses applications


def single_stage(seed: int) -> tuple[list[Application], Server]:
    """Return applications of one stage of parallel calls each, and a server."""
    draw = random.Random(f"single-{seed}")
    server = _server(draw)
    stages: list[Stages] = [(_calls(draw, 30),) for _ in range(_log_uniform(draw, 5, 60))]
    return _arriving(draw, stages, server), server


def staged(seed: int) -> tuple[list[Application], Server]:
    """Return applications of 1 to 8 stages of 1 to 12 calls each, and a server."""
    draw = random.Random(f"staged-{seed}")
    server = _server(draw)
    stages = [
        tuple(_calls(draw, 12) for _ in range(_log_uniform(draw, 1, 8)))
        for _ in range(_log_uniform(draw, 5, 40))
    ]
    return _arriving(draw, stages, server), server


def weighted(seed: int) -> tuple[list[Application], Server]:
    """Return a single-stage workload with weights from 0.2 to 5."""
    applications, server = single_stage(seed)
    draw = random.Random(f"weights-{seed}")
    return [
        replace(each, weight=math.exp(draw.uniform(math.log(0.2), math.log(5))))
        for each in applications
    ], server


def few_slots(seed: int) -> tuple[list[Application], Server]:
    """Return a single-stage workload on a server whose `max_num_seqs` binds before its memory."""
    applications, server = single_stage(seed)
    draw = random.Random(f"slots-{seed}")
    fits = server.capacity // 400  # calls of middling size
    return applications, replace(server, max_num_seqs=max(2, int(fits * draw.uniform(0.2, 0.6))))


def small_prefill_budget(seed: int) -> tuple[list[Application], Server]:
    """Return a single-stage workload on a server whose prefill budget binds before its memory."""
    applications, server = single_stage(seed)
    draw = random.Random(f"budget-{seed}")
    budget = draw.choice([64, 128, 256])
    return applications, replace(server, max_num_batched_tokens=budget, max_num_seqs=budget)


def tenants(seed: int, *, at_once: bool = False) -> tuple[list[Application], Server]:
    """Return a single-stage workload of two to four tenants of weights 0.5 to 2."""
    applications, server = single_stage(seed)
    draw = random.Random(f"tenants-{seed}")
    names = [f"t{index}" for index in range(draw.randint(2, 4))]
    weights = tuple((name, draw.choice([0.5, 1.0, 1.0, 2.0])) for name in names)
    mine = [
        replace(each, tenant=draw.choice(names), arrival=0 if at_once else each.arrival)
        for each in applications
    ]
    return mine, replace(server, tenant_weights=weights)


def work_of(stages: Sequence[Stages], server: Server) -> float:
    """Return the iterations all of it takes with memory full."""
    calls = (call for each in stages for stage in each for call in stage)
    return sum(call_cost(p, d) for p, d in calls) / server.capacity


def _server(draw: random.Random) -> Server:
    block_size = draw.choice([8, 16, 32])
    capacity = _log_uniform(draw, 4_000, 20_000)
    return Server(
        num_blocks=capacity // block_size + 1, block_size=block_size, overlap=draw.random() < 0.5
    )


def _calls(draw: random.Random, most: int) -> tuple[tuple[int, int], ...]:
    return tuple(
        (draw.randint(50, 600), draw.randint(20, 300)) for _ in range(_log_uniform(draw, 1, most))
    )


def _arriving(draw: random.Random, stages: list[Stages], server: Server) -> list[Application]:
    while len(stages) > 5 and work_of(stages, server) > MAX_WORK:
        stages.pop()
    work = work_of(stages, server)
    span, how = draw.uniform(0.3, 1.5) * work, draw.choice(ARRIVALS)
    bursts = [draw.uniform(0, span) for _ in range(draw.randint(2, 5))]
    applications = []
    for index, each in enumerate(stages):
        arrival = {
            "at once": 0.0,
            "spread": draw.uniform(0, span),
            "bursts": draw.choice(bursts),
        }[how]
        applications.append(Application(f"a{index}", int(arrival), each))
    return applications


def _log_uniform(draw: random.Random, least: int, most: int) -> int:
    return int(math.exp(draw.uniform(math.log(least), math.log(most + 1))))
