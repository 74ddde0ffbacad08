"""
The experiments: what is run for each of the published results.

An experiment is one or more studies on the same workloads that differ in what the scheduler is told
of costs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from justitia_server.simulation.arrivals import Stamp
from justitia_server.simulation.drawing import Draw, draw_workload
from justitia_server.simulation.server import Server
from justitia_server.simulation.shipped import named_arrivals, named_families
from justitia_server.simulation.step_time import read_step_time
from justitia_server.simulation.study import Study
from justitia_server.simulation.workload import Arriving

from .agents import agent_families
from .kinds import generated_families

SEEDS = (1, 2, 3, 4, 5)
A100 = "A100-80GB SXM/Llama-2-7B"
H100 = "H100 SXM/Llama-3-8B"
SCARCE = 459  # KV blocks of 16: the paper's
GATE_RATE = 7344 / 0.016  # KV token-time per second
LONGEST_CALL = 7000
EVERY_POLICY = (
    "justitia", "justitia_nominal", "justitia_compute", "vtc", "srjf", "sjf", "las", "app_fcfs",
    "fcfs",
)  # fmt: skip
NINE_KINDS = {  # by size: the share of applications, and the kinds in even parts
    "small": (0.72, ("fever_react", "alfworld", "generated_equation_verification",
                     "generated_code_checking")),
    "medium": (0.26, ("generated_plan_and_execution", "mapreduce_summarization",
                      "self_consistency_writing", "kbqa_verification")),
    "large": (0.02, ("generated_document_merging",)),
}  # fmt: skip
NUM_PAPER = 300

Workloads = dict[int, list[Arriving]]


@dataclass(frozen=True, slots=True)
class Experiment:
    """
    What one published result rests on.

    Attributes:
        server: The engine, and how fast it is.
        workloads: Draws them, by seed.
        policies: By what the scheduler is told of costs.
    """

    server: Server
    workloads: Callable[[Server], Workloads]
    policies: dict[str, Sequence[str]]

    def studies(self) -> list[Study]:
        """Return a study for each kind of predicted costs, on the same workloads."""
        workloads = self.workloads(self.server)
        return [
            Study(workloads, self.server, policies, told)
            for told, policies in self.policies.items()
        ]


def _server(blocks: int, gpu_model: str, **told: object) -> Server:
    return Server(read_step_time(gpu_model), blocks, **told)  # type: ignore[arg-type]


# -- the seven public families on the paper's memory ---------------------------------------


def _public(load: float, *, tenants: bool = False) -> Callable[[Server], Workloads]:
    def draw(server: Server) -> Workloads:
        families, stamps = named_families(), named_arrivals("vtc_lmsys")
        how = Draw(210, load, GATE_RATE, LONGEST_CALL, tenants)
        return {seed: draw_workload(families, stamps, how, seed) for seed in SEEDS}

    return draw


def _gates(load: float) -> Experiment:
    noisy = {f"lognormal:{sigma}": ("justitia",) for sigma in (0.25, 0.6)}
    return Experiment(
        _server(SCARCE, A100),
        _public(load),
        {"true": EVERY_POLICY, **noisy, "online": ("justitia",)},
    )


def _light(load: float) -> Experiment:
    policies = ("justitia", "vtc", "srjf", "fcfs")
    return Experiment(_server(SCARCE, A100), _public(load), {"true": policies})


def _tenants(load: float) -> Experiment:
    policies = ("justitia", "vtc", "vtc_tenant", "srjf", "fcfs")
    return Experiment(_server(SCARCE, A100), _public(load, tenants=True), {"true": policies})


# -- the paper's evaluation ----------------------------------------------------------------


def bursty_stamps(number: int, span_s: float, seed: int) -> list[Stamp]:
    """
    Return arrivals in bursts, such as Mooncake's: its stamps come in windows of three seconds.

    Gaps are gamma distributed with a coefficient of variation of 2, put to windows of 3 s. Made up:
    the trace itself is not at hand.
    """
    chance = random.Random(f"bursts-{seed}")
    at, stamps = 0.0, [0.0]
    for _ in range(number - 1):
        at += chance.gammavariate(0.25, 4.0)
        stamps.append(at)
    scale = span_s / at
    return [Stamp(round(each * scale / 3) * 3.0) for each in stamps]


def _paper_workloads(minutes: float, *, even: bool = False) -> Callable[[Server], Workloads]:
    def draw(server: Server) -> Workloads:
        return {seed: _paper_workload(minutes, server, seed, even=even) for seed in SEEDS}

    return draw


def _paper_workload(minutes: float, server: Server, seed: int, *, even: bool) -> list[Arriving]:
    """Put the nine kinds, in the paper's shares or evenly, onto bursts over so many minutes."""
    kinds = {**named_families(), **generated_families()}
    sizes = NINE_KINDS.values()
    if even:
        sizes = [(1.0, tuple(name for _, names in sizes for name in names))]
    stamps = bursty_stamps(NUM_PAPER, minutes * 60, seed)
    drawn: list[Arriving] = []
    for share, names in sizes:
        how = Draw(round(share * NUM_PAPER), 1.0, server.rate, LONGEST_CALL)
        drawn += draw_workload({name: kinds[name] for name in names}, stamps, how, seed)
    if not even:  # a draw is in random order, several one after the other are not
        random.Random(f"mix-{seed}").shuffle(drawn)
    return [
        each.model_copy(update={"arrival_s": stamp.arrival_s})
        for each, stamp in zip(drawn, stamps, strict=True)
    ]


def _paper(minutes: float, *noise: str, even: bool = False) -> Experiment:
    noisy = dict.fromkeys(noise, ("justitia",))
    drawn = _paper_workloads(minutes, even=even)
    return Experiment(_server(SCARCE, A100), drawn, {"true": EVERY_POLICY, **noisy})


# -- agents of 2026 ------------------------------------------------------------------------

AGENT_POLICIES = ("justitia", "justitia_compute", "vtc", "srjf", "las", "app_fcfs", "fcfs")
H100_BLOCKS = 467_280 // 16  # what an H100 has left beside Llama-3-8B


def _agents(load: float, **server: object) -> Experiment:
    def draw(server: Server) -> Workloads:
        families, stamps = agent_families(), named_arrivals("vtc_lmsys")
        how = Draw(120, load, server.rate, server.capacity // 2)
        return {seed: draw_workload(families, stamps, how, seed) for seed in SEEDS}

    return Experiment(_server(H100_BLOCKS, H100, **server), draw, {"true": AGENT_POLICIES})


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {
    **{f"gates-{load}": lambda load=load: _gates(load) for load in (1.0, 1.3, 2.0)},
    "light-0.8": lambda: _light(0.8),
    **{f"tenants-{load}": lambda load=load: _tenants(load) for load in (1.0, 1.3, 2.0)},
    "paper-1x": lambda: _paper(18),
    "paper-2x": lambda: _paper(9),
    "paper-3x": lambda: _paper(6, "lognormal:0.25", "lognormal:0.5", "lognormal:1.0"),
    "paper-even": lambda: _paper(6, "lognormal:0.25", "lognormal:0.5", "lognormal:1.0", even=True),
    "agents-1.0": lambda: _agents(1.0, prefix_caching=True),
    "agents-2.0": lambda: _agents(2.0, prefix_caching=True),
    "agents-2.0-uncached": lambda: _agents(2.0),
    "agents-2.0-16-slots": lambda: _agents(2.0, prefix_caching=True, max_num_seqs=16),
}
