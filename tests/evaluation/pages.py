"""
The tables of the published pages, from the data of the experiments.

The pages' prose is written by hand. What stands between `<!-- table NAME -->` and `<!-- end -->` is
made by the functions here of docs/results/data, anew each time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from justitia_sdk.errors import ConfigurationError
from justitia_server.simulation.step_time import read_step_time

RESULTS = Path(__file__).parents[2] / "docs" / "results"
LOADS = (1.0, 1.3, 2.0)
MOST_OF_VTC = {1.0: 0.32, 1.3: 0.38, 2.0: 0.44}
_MARKED = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

_COLUMNS = {  # measure, and how it is headed
    "mean_jct_s": "mean JCT, s",
    "p90_jct_s": "90 %, s",
    "mean_jct_vs_vtc": "of VTC's",
    "mean_jct_vs_srjf": "of SRJF's",
    "share_no_later_than_vtc": "no later than VTC",
    "worst_ratio_to_vtc": "worst of VTC's",
    "on_time_ratio": "on time",
    "worst_lateness_s": "worst lateness, s",
    "on_time_ratio_nominal": "on time, nominal",
    "worst_lateness_s_nominal": "worst, nominal, s",
    "throughput_tokens_s": "tokens/s",
    "kv_utilisation": "KV in use",
}

Row = Mapping[str, Any]  # of one policy: its measures a seed, and its families'


def write_pages() -> list[str]:
    """Put the tables into the pages; return a sentence for each gate that is missed."""
    for page in sorted(RESULTS.glob("*.md")):
        text = page.read_text()
        told = _MARKED.sub(lambda found: f"{found[1]}{_made(found[2])}\n{found[3]}", text)
        if told != text:
            page.write_text(told)
    try:
        return [what for what, _, holds in gates() if not holds]
    except FileNotFoundError:
        return []


def _made(name: str) -> str:
    try:
        return TABLES[name]()
    except FileNotFoundError:
        return "Not run yet."


def read(name: str) -> dict[str, dict[str, Row]]:
    """Return an experiment's data: by what the scheduler was told, by policy."""
    data: dict[str, dict[str, Row]] = json.loads((RESULTS / "data" / f"{name}.json").read_text())
    return data


def values(row: Row, measure: str) -> list[float]:
    """Return a measure of every seed."""
    return [each[measure] for each in row["measures"]]


def ratios(row: Row, other: Row, measure: str = "mean_jct_s") -> list[float]:
    """Return a measure over that of another policy, seed by seed."""
    pairs = zip(values(row, measure), values(other, measure), strict=True)
    return [mine / theirs for mine, theirs in pairs]


# -- gates -------------------------------------------------------------------------------


def gates() -> list[tuple[str, str, bool]]:
    """Return what is asked, what was found, and whether it holds."""
    found: list[tuple[str, str, bool]] = []

    def gate(what: str, of: Sequence[float], holds: Callable[[float], bool]) -> None:
        found.append((what, spread(of), holds(fmean(of))))

    for load in LOADS:
        data = read(f"gates-{load}")
        true = data["true"]
        ours, at = true["justitia"], f"load {load}:"
        most = MOST_OF_VTC[load]
        vtc, srjf = values(ours, "mean_jct_vs_vtc"), values(ours, "mean_jct_vs_srjf")
        gate(f"{at} mean JCT at most {most} of VTC's", vtc, lambda mean, most=most: mean <= most)
        gate(f"{at} at most 1.10 of SRJF's", srjf, lambda mean: mean <= 1.10)
        on_time = values(ours, "on_time_ratio")
        gate(f"{at} on time, delivered, at least 0.99", on_time, lambda mean: mean >= 0.99)
        nominal = values(ours, "on_time_ratio_nominal")
        gate(f"{at} on time, nominal, at least 0.95", nominal, lambda mean: mean >= 0.95)
        no_later = values(ours, "share_no_later_than_vtc")
        gate(f"{at} no later than VTC at least 0.85", no_later, lambda mean: mean >= 0.85)
        broken = values(ours, "bound_violations")
        gate(f"{at} no bound violated", broken, lambda mean: mean == 0)
        noisy = ratios(data["lognormal:0.25"]["justitia"], ours)
        gate(f"{at} lognormal:0.25 at most 1.12 of true costs", noisy, lambda mean: mean <= 1.12)
        speed = ratios(ours, true["fcfs"], "throughput_tokens_s")
        gate(f"{at} throughput at least 0.99 of FCFS's", speed, lambda mean: mean >= 0.99)
    return found


def _gate_table() -> str:
    rows = [[what, shown, "yes" if holds else "**no**"] for what, shown, holds in gates()]
    return table(["asked of `justitia`, true costs", "mean (least to most)", "holds"], rows)


# -- tables ------------------------------------------------------------------------------


def policies_table(name: str, told: str = "true") -> str:
    """Return every policy by every measure."""
    data = read(name)[told]
    rows = [
        [f"`{policy}`", *(spread(values(row, measure)) for measure in _COLUMNS)]
        for policy, row in data.items()
    ]
    return table(["policy", *_COLUMNS.values()], rows)


def noise_table(names: Sequence[str]) -> str:
    """Return what errors of the predicted costs do, an experiment a block."""
    rows = []
    for name in names:
        data = read(name)
        true = data["true"]["justitia"]
        for told, of in data.items():
            row = of["justitia"]
            rows.append(
                [
                    name,
                    told,
                    spread(values(row, "prediction_mre")),
                    spread(values(row, "prediction_kendall_tau")),
                    spread(values(row, "mean_jct_s")),
                    spread(ratios(row, true)),
                    spread(values(row, "mean_jct_vs_vtc")),
                    spread(values(row, "on_time_ratio")),
                    spread(values(row, "worst_lateness_s")),
                ]
            )
    heads = [
        "experiment", "told", "relative error", "Kendall tau", "mean JCT, s", "of true costs'",
        "of VTC's", "on time", "worst lateness, s",
    ]  # fmt: skip
    return table(heads, rows)


def beside_table() -> str:
    """Return our figures beside the paper's."""
    data = {name: read(name)["true"] for name in ("paper-1x", "paper-2x", "paper-3x")}
    three, ours = data["paper-3x"], data["paper-3x"]["justitia"]
    ablated = {name: ratios(of["justitia_compute"], of["justitia"]) for name, of in data.items()}
    of_vtc = {name: ratios(of["justitia"], of["vtc"]) for name, of in data.items()}
    rows = [
        ["mean JCT, 3x, s", spread(values(ours, "mean_jct_s")), "about 300"],
        ["mean JCT, 2x, s", spread(values(data["paper-2x"]["justitia"], "mean_jct_s")), "151"],
        ["of VTC's mean, 3x", spread(of_vtc["paper-3x"]), "0.43"],
        ["of VTC's mean, 2x", spread(of_vtc["paper-2x"]), ""],
        ["of VTC's mean, 1x", spread(of_vtc["paper-1x"]), "about 0.7"],
        ["of Parrot's mean (`app_fcfs`), 3x", spread(ratios(ours, three["app_fcfs"])), "0.39"],
        ["of SRJF's mean, 3x", spread(ratios(ours, three["srjf"])), "about 1.03"],
        ["FCFS's mean of VTC's, 3x", spread(ratios(three["fcfs"], three["vtc"])), "about 1.5"],
        ["no later than under VTC, 3x", spread(values(ours, "share_no_later_than_vtc")), "0.92"],
        ["worst ratio to VTC, 3x", spread(values(ours, "worst_ratio_to_vtc")), "1.26"],
        ["`p + 2d` as the cost, 2x", spread(ablated["paper-2x"]), "1.42 (or 1.73)"],
        ["`p + 2d` as the cost, 3x", spread(ablated["paper-3x"]), ""],
    ]  # fmt: skip
    return table(["", "here", "the paper"], rows)


def families_table(name: str) -> str:
    """Return the mean completion time of each type over that under VTC."""
    data = read(name)["true"]
    families = list(data["vtc"]["families"][0])
    rows = []
    for family in families:
        cells = []
        for row in data.values():
            pairs = zip(row["families"], data["vtc"]["families"], strict=True)
            cells.append(spread([mine[family] / theirs[family] for mine, theirs in pairs]))
        rows.append([family, *cells])
    return table(["type", *(f"`{policy}`" for policy in data)], rows)


def reality_table(name: str, base: str = "fcfs") -> str:
    """Return live and simulated completion times, and their ratios to *base* side by side."""
    seeds = _reality(name)["seeds"]
    rows = []
    for policy in seeds[0]["live"]:
        live, simulated = (
            [_mean_jct(each[where], policy) for each in seeds] for where in ("live", "simulated")
        )
        live_ratios, simulated_ratios = (
            _over(of, [_mean_jct(each[where], base) for each in seeds])
            for where, of in (("live", live), ("simulated", simulated))
        )
        apart = _over(simulated_ratios, live_ratios)
        speeds = [each["live"][policy]["throughput_tokens_s"] for each in seeds]
        slownesses, trips = (
            [each["hosts"].get(policy, {}).get(what) for each in seeds]
            for what in ("slowness", "round_trip_s")
        )
        cells = (live, simulated, live_ratios, simulated_ratios, apart, speeds, slownesses, trips)
        rows.append([f"`{policy}`", *(_known_spread(each) for each in cells)])
    heads = [
        "policy", "live, mean JCT, s", "simulated, s", f"live, of {base}'s",
        f"simulated, of {base}'s", "simulated over live", "tokens/s, live",
        "steps took, of fitted", "round trip, s",
    ]  # fmt: skip
    return table(heads, rows)


def constants_table(name: str) -> str:
    """Return the fitted step times, beside those that ship where there are any."""
    about = _reality(name)["about"]
    try:
        shipped = read_step_time(f"{about['gpu']}/{about['model']}")
    except ConfigurationError:
        shipped = None
    rows = [
        [name, number(value), number(getattr(shipped, name)) if shipped else ""]
        for name, value in about["constants"].items()
    ]
    return table(["constant", "fitted", "ships"], rows)


def _reality(name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((RESULTS / "data" / f"reality-{name}.json").read_text())
    return told


def _mean_jct(measures: Mapping[str, Any], policy: str) -> float | None:
    told: float | None = measures.get(policy, {}).get("mean_jct_s")
    return told


def _over(of: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    pairs = zip(of, other, strict=True)
    return [None if one is None or base is None else one / base for one, base in pairs]


def _known_spread(of: Sequence[float | None]) -> str:
    known = [each for each in of if each is not None]
    return spread(known) if known else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---", *("--:" for _ in heads[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(of: Sequence[float]) -> str:
    """Return the mean, and the least and most where they differ."""
    low, mean, high = (number(each) for each in (min(of), fmean(of), max(of)))
    return mean if low == high else f"{mean} ({low} to {high})"


def number(value: float) -> str:
    """Return *value* to about three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_GATES = [f"gates-{load}" for load in LOADS]
_PAPER = ["paper-1x", "paper-2x", "paper-3x", "paper-even"]
_AGENTS = ["agents-1.0", "agents-2.0", "agents-2.0-uncached", "agents-2.0-16-slots"]

_LIVE = ("toy", "Llama-2-7B", "Llama-3-8B")

TABLES: dict[str, Callable[[], str]] = {
    "gates": _gate_table,
    **{f"reality-{name}": lambda name=name: reality_table(name) for name in _LIVE},
    **{f"constants-{name}": lambda name=name: constants_table(name) for name in _LIVE},
    "gates-noise": lambda: noise_table(_GATES),
    "paper-noise": lambda: noise_table(["paper-3x", "paper-even"]),
    "paper-beside": beside_table,
    "agents-families": lambda: families_table("agents-2.0"),
    "paper-families": lambda: families_table("paper-3x"),
    **{
        name: lambda name=name: policies_table(name)
        for name in ("light-0.8", *_GATES, *_PAPER, *_AGENTS)
    },
    **{f"tenants-{load}": lambda load=load: policies_table(f"tenants-{load}") for load in LOADS},
}
