"""What a bench found: the measures of every run, beside those policies that were run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..simulation.findings import Findings
from ..simulation.measures import Measures, measures_of
from ..simulation.outcomes import Run
from .play import Tally

COMPARED = ("vtc", "srjf", "stock")

Done = Mapping[tuple[str, int], tuple[Run, Tally]]  # by name and seed


def find(done: Done) -> Findings:
    """Measure every run; of policies to compare with those that are there."""
    findings = Findings()
    names, seeds = (list(dict.fromkeys(part)) for part in zip(*done, strict=True))
    for seed in seeds:
        beside = {name: done[name, seed][0] for name in COMPARED if name in names}
        findings.compared |= {(name, seed): run for name, run in beside.items()}
        for name in names:
            run, tally = done[name, seed]
            findings.runs[name, seed] = run
            findings.measures[name, seed] = measures_of(run, beside=beside) | _of_client(tally)
    for name in names:
        _keep_common([findings.measures[name, seed] for seed in seeds])
    return findings


def _of_client(tally: Tally) -> Measures:
    """Return what only a live run has: failures, and how late the client was."""
    return {
        "num_failed": float(tally.num_failed),
        "p99_slip_s": float(np.percentile(tally.slips_s, 99)),
        "max_slip_s": tally.max_slip_s,
    }


def _keep_common(measures: Sequence[Measures]) -> None:
    """Drop what is not known of every seed: a mean over the others would be of something else."""
    common = set.intersection(*(set(each) for each in measures))
    for each in measures:
        for name in each.keys() - common:
            del each[name]
