"""
What is claimed, of which random workloads, and how near each limit they come.

A claim is held if no application of any workload is later than a form of the bound that `held`
names. Forms under `shown` are measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import adversaries, limits, workloads
from .driver import Application, Hooks, Result, Server, run
from .limits import Limit
from .pushed import PushWatch

Workload = tuple[list[Application], Server]


@dataclass(frozen=True, slots=True)
class Claim:
    """
    Forms of the bound, and workloads they are held for.

    Attributes:
        name: As it is shown.
        draw: A workload from a seed.
        number: Of seeds, in `make prove`.
        held: Forms that no application may exceed.
        shown: Forms to measure besides.
        hooks: What watches.
    """

    name: str
    draw: Callable[[int], Workload]
    number: int
    held: tuple[Limit, ...]
    shown: tuple[Limit, ...] = ()
    hooks: Callable[[], Hooks] = Hooks


@dataclass(frozen=True, slots=True)
class Measured:
    """How near one workload came to the limits."""

    claim: str
    seed: int
    shares: dict[str, float]  # worst lateness over limit, by form
    num_applications: int
    num_late: int
    num_iterations: int
    num_preemptions: int
    complaints: tuple[str, ...]


CLAIMS = {
    claim.name: claim
    for claim in (
        Claim("one stage", workloads.single_stage, 2000, (limits.one_level, limits.booked)),
        Claim("one stage, weights", workloads.weighted, 300, (limits.one_level, limits.booked)),
        Claim(
            "several stages",
            workloads.staged,
            400,
            (limits.waiting_path, limits.critical_path, limits.booked),
        ),
        Claim("slots bind", workloads.few_slots, 150, (limits.by_rates,), (limits.one_level,)),
        Claim(
            "prefill budget binds",
            workloads.small_prefill_budget,
            150,
            (limits.by_rates,),
            (limits.one_level,),
        ),
        Claim(
            "2-4 tenants",
            workloads.tenants,
            300,
            (limits.arrived_later, limits.pushed),
            (limits.one_level,),
            PushWatch,
        ),
        Claim(
            "2-4 tenants, all at once",
            lambda seed: workloads.tenants(seed, at_once=True),
            150,
            (limits.one_level,),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Adversary:
    """A workload made against one form, which it must break, and the forms it must not."""

    name: str
    draw: Callable[[], Workload]
    broken: tuple[Limit, ...]
    held: tuple[Limit, ...]
    hooks: Callable[[], Hooks] = Hooks


ADVERSARIES = {
    adversary.name: adversary
    for adversary in (
        Adversary("search", lambda: adversaries.near_worst(0), (), (limits.one_level,)),
        Adversary("search, by the books", lambda: adversaries.near_worst(1), (), (limits.booked,)),
        Adversary(
            "waits before each stage",
            adversaries.waits_before_each_stage,
            (limits.critical_path,),
            (limits.waiting_path, limits.booked),
        ),
        Adversary(
            "in company of chains",
            adversaries.in_company_of_chains,
            (limits.one_level, limits.critical_path),
            (limits.waiting_path, limits.booked),
        ),
        Adversary(
            "long prompts, then short; 8 slots",
            adversaries.long_prompts_then_short,
            (limits.one_level,),
            (limits.by_rates,),
        ),
        Adversary(
            "long outputs, then long prompts; budget 64",
            adversaries.long_outputs_then_long_prompts,
            (limits.one_level,),
            (limits.by_rates,),
        ),
        Adversary(
            "a tenant pushes itself back",
            adversaries.pushed_back,
            (limits.one_level,),
            (limits.arrived_later, limits.pushed),
            PushWatch,
        ),
    )
}


def measure(name: str, seed: int) -> Measured:
    """Run one workload of a claim."""
    claim = CLAIMS[name]
    result = run(*claim.draw(seed), claim.hooks())
    return _measured(name, seed, result, (*claim.held, *claim.shown))


def measure_adversary(name: str) -> Measured:
    """Run one adversary."""
    adversary = ADVERSARIES[name]
    result = run(*adversary.draw(), adversary.hooks())
    return _measured(name, 0, result, (*adversary.broken, *adversary.held))


def draw(results: Sequence[Measured], path: Path) -> None:
    """Plot how near the workloads come to the bound, as the share that come nearer than that."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name, form in (
        ("one stage", limits.one_level),
        ("one stage, weights", limits.one_level),
        ("several stages", limits.critical_path),
        ("2-4 tenants", limits.arrived_later),
    ):
        shares = sorted(each.shares[form.__name__] for each in results if each.claim == name)
        if shares:
            above = [1 - index / len(shares) for index in range(len(shares))]
            axes.step(shares, above, where="post", label=f"{name}: {form.__name__}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xlim(0, 1.05)
    axes.set_xlabel("worst lateness of a workload, over the limit")
    axes.set_ylabel("share of workloads with more")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def orders_of_admission(seed: int) -> tuple[list[str], ...]:
    """
    Return who is admitted when: as the tags say, without overlap, and with it.

    All arrive at once, in one stage, so that no tag moves and calls must be admitted for the first
    time in the order of F = C / w, whatever is preempted meanwhile.
    """
    applications, server = workloads.weighted(seed)
    applications = [replace(each, arrival=0) for each in applications]
    admitted = [
        run(applications, replace(server, overlap=overlap)).admitted for overlap in (False, True)
    ]
    seqs = {each.app_id: seq for seq, each in enumerate(reversed(applications))}
    tagged = sorted(applications, key=lambda each: (each.cost / each.weight, seqs[each.app_id]))
    expected = [
        f"{each.app_id}/0/{index}" for each in tagged for index in range(len(each.stages[0]))
    ]
    return (expected, *admitted)


def _measured(name: str, seed: int, result: Result, forms: tuple[Limit, ...]) -> Measured:
    outcomes = result.outcomes.values()
    shares = {
        form.__name__: max(each.lateness / form(each, result.server) for each in outcomes)
        for form in forms
    }
    return Measured(
        name,
        seed,
        shares,
        len(outcomes),
        sum(each.lateness > 1 for each in outcomes),
        result.num_iterations,
        result.num_preemptions,
        tuple(result.complaints),
    )
