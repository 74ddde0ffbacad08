"""
Workloads made to be as bad as they can be, each against one form of the bound.

Random workloads stay far from any limit; these say which forms are false, and how tight the others
are. `NEAR_WORST` is what hill-climbing over single-stage workloads ended with after thousands of
runs each: the first against the bound, the second against what the ledger says of it.
"""

from __future__ import annotations

from justitia_server.fairness.cost import call_cost

from .driver import Application, Call, Server, Stages

Workload = tuple[list[Application], Server]
Group = tuple[int, int, int, int, int, int]  # applications, calls, p, d, first arrival, gap

NEAR_WORST: tuple[tuple[Server, tuple[Group, ...]], ...] = (
    (
        Server(num_blocks=742, block_size=8),
        (
            (14, 7, 50, 22, 10, 0),
            (10, 7, 132, 20, 20, 0),
            (3, 1, 50, 24, 2, 6),
            (18, 5, 116, 24, 10, 5),
            (5, 21, 50, 24, 1, 0),
        ),
    ),
    (
        Server(num_blocks=460),
        (
            (17, 1, 100, 40, 10, 0),
            (11, 30, 300, 27, 5, 3),
            (10, 1, 50, 27, 6, 0),
            (1, 1, 358, 40, 21, 0),
        ),
    ),
)


def near_worst(index: int) -> Workload:
    """Return one of the workloads the search ended with."""
    server, groups = NEAR_WORST[index]
    return [each for number, group in enumerate(groups) for each in _group(number, group)], server


def waits_before_each_stage(num_stages: int = 48) -> Workload:
    """
    Return a chain that waits for memory before every other stage.

    Its calls are of 50 and 600 prompt tokens in turn. While a short one runs, what it leaves free
    goes to calls that hold it for 300 iterations, and the long one must wait for those.
    """
    chain = tuple((((600 if stage % 2 else 50), 1),) for stage in range(num_stages))
    others = _each(45, "other", (((300, 300),),))
    return [Application("chain", 0, chain), *others], Server(num_blocks=251)


def in_company_of_chains(num_stages: int = 8) -> Workload:
    """
    Return two calls that come when chains, done in the reference, have most of their work ahead.

    While the chains ran one call each, others had the rest of the memory: the reference gave it to
    the chains, which could not use it. Their last stage is all their work at once.
    """
    chain: Stages = tuple(((50, 300),) for _ in range(num_stages))
    chains = _each(40, "chain", (*chain, ((600, 100),) * (num_stages + 2)))
    others = _each(num_stages, "other", (((600, 300),) * 16,))
    late = Application("late", 300 * num_stages, (((50, 300),) * 4,))
    return [*chains, *others, late], Server(num_blocks=1251)


def long_prompts_then_short(*, max_num_seqs: int = 8) -> Workload:
    """Return calls with much memory that fill the slots, then many with little."""
    first = _each(max_num_seqs, "long", (((600, 300),),))
    then = [Application(f"short-{index}", 1, (((50, 20),) * 20,)) for index in range(40)]
    return [*first, *then], Server(num_blocks=1251, max_num_seqs=max_num_seqs)


def long_outputs_then_long_prompts(*, budget: int = 64) -> Workload:
    """Return calls that need little prefill and hold much memory, then many that need much."""
    first = _each(60, "output", (((50, 300),),))
    then = [
        Application(f"prompt-{index}", 60, (((600, 20),) * 4,), weight=5.0) for index in range(60)
    ]
    server = Server(num_blocks=1251, max_num_batched_tokens=budget, max_num_seqs=budget)
    return [*first, *then], server


def pushed_back(number: int = 20, *, calls: int = 20) -> Workload:
    """
    Return a tenant whose later arrivals push back what has been served.

    Tenant "early" goes first, its applications being a little smaller. Each later one is just
    small enough to go before tenant "late" again, and moves the reference's finish of all that
    "early" has already got.
    """
    server = Server(num_blocks=251, tenant_weights=(("early", 1.0), ("late", 1.0)))
    rate = 0.92 * server.capacity
    late = _each(number, "late", (((600, 20),) * calls,), tenant="late")
    early = _each(number, "early", (((590, 20),) * calls,), tenant="early")
    at, horizon = number * early[0].cost / rate, late[0].cost / 2
    for index in range(number):
        left = horizon * (number / (number + index)) ** 0.5
        cost = 0.93 * left * number / (number + index + 1)
        call: Call = (max(50, int((cost / calls - 210) / 20)), 20)
        early.append(Application(f"push-{index}", int(at), ((call,) * calls,), tenant="early"))
        at += calls * call_cost(*call) / rate
    return [*late, *early], server


def _each(number: int, name: str, stages: Stages, *, tenant: str = "default") -> list[Application]:
    return [Application(f"{name}-{index}", 0, stages, tenant=tenant) for index in range(number)]


def _group(number: int, group: Group) -> list[Application]:
    applications, calls, prompt, output, first, gap = group
    return [
        Application(f"g{number}-{index}", first + index * gap, (((prompt, output),) * calls,))
        for index in range(applications)
    ]
