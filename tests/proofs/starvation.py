"""
One large application against a stream of small ones, one a second: does the large one starve?

459 blocks of 16 tokens; a second is 60 iterations (Llama-2-7B on an A100 with this memory full
takes 14.6 ms an iteration, and prefill comes on top). The large one is a map of 80 calls and a
reduce, 9 s of the whole server; a small one is 14 calls, and one a second is all the server can do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from .driver import Application, Server, run

ITERATIONS_PER_S = 60
NUMBERS = (100, 300, 500)
POLICIES = ("justitia", "justitia_nominal", "srjf", "las", "vtc", "app_fcfs", "fcfs")
LARGE = (((300, 120),) * 80, ((600, 200),))
SMALL = (((250, 100),) * 14,)


@dataclass(frozen=True, slots=True)
class Starved:
    """How the large one and the small ones fared."""

    policy: str
    num_small: int
    large_jct_s: float
    small_jct_s: float  # mean
    large_fair_s: float  # the large one's fair finish, from its arrival
    load: float  # work of the small ones over what was delivered while they arrived
    complaints: tuple[str, ...]


def starve(policy: str, num_small: int) -> Starved:
    """Run one large application and *num_small* small ones."""
    server = Server(policy=policy, iterations_per_s=ITERATIONS_PER_S)
    large = Application("large", 0, LARGE, app_type="large")
    small = [
        Application(f"small-{index}", index * ITERATIONS_PER_S, SMALL, app_type="small")
        for index in range(num_small)
    ]
    result = run([large, *small], server)
    mine = result.outcomes["large"]
    jcts = [each.jct for name, each in result.outcomes.items() if name != "large"]
    delivered = sum(each.application.cost for each in result.outcomes.values())
    per_iteration = delivered / result.num_iterations
    return Starved(
        policy,
        num_small,
        mine.jct / ITERATIONS_PER_S,
        fmean(jcts) / ITERATIONS_PER_S,
        (mine.fair_finished - mine.arrived + 1) / ITERATIONS_PER_S,
        small[0].cost / ITERATIONS_PER_S / per_iteration,
        tuple(result.complaints),
    )


def draw(results: list[Starved], path: Path) -> None:
    """Plot the large one's completion time over the number of small ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for policy in POLICIES:
        mine = sorted((r.num_small, r.large_jct_s) for r in results if r.policy == policy)
        width = 2.5 if policy == "justitia" else 1.2
        axes.plot(*zip(*mine, strict=True), marker="o", label=policy, linewidth=width)
    fair = sorted((r.num_small, r.large_fair_s) for r in results if r.policy == "justitia")
    axes.plot(*zip(*fair, strict=True), "k:", label="fair finish (GPS)")
    axes.set_xlabel("small applications, one a second")
    axes.set_ylabel("completion time of the large one (s)")
    axes.set_xticks(NUMBERS)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
