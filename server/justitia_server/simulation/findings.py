"""What was found of several policies on the same workloads, and the files it is written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from .measures import Measures
from .outcomes import Run, write_applications


@dataclass(slots=True)
class Findings:
    """
    What a study found.

    Attributes:
        runs: By policy and seed, those asked for.
        measures: The same way.
        compared: Runs of the policies that measures are told against, with true costs.
        alone: By seed, every application alone on the server.
    """

    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    measures: dict[tuple[str, int], Measures] = field(default_factory=dict)
    compared: dict[tuple[str, int], Run] = field(default_factory=dict)
    alone: dict[int, Run] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Return every measure by policy: the value, or mean, least and most over the seeds."""
        policies: dict[str, Any] = {}
        for policy in dict.fromkeys(policy for policy, _ in self.measures):
            told = [each for (name, _), each in self.measures.items() if name == policy]
            policies[policy] = {name: _spread([each[name] for each in told]) for name in told[0]}
        return {"policies": policies}

    def write(self, directory: Path) -> None:
        """Write `applications.csv` and `summary.json`, several seeds one after the other."""
        directory.mkdir(parents=True, exist_ok=True)
        write_applications(directory / "applications.csv", self.runs.values())
        text = json.dumps(self.summary(), indent=1)
        (directory / "summary.json").write_text(text + "\n", encoding="utf-8")


def _spread(values: Sequence[float]) -> float | dict[str, float]:
    if len(values) == 1:
        return values[0]
    return {"mean": fmean(values), "min": min(values), "max": max(values)}
