"""The tables and the picture of docs/results/predictor.md, from the measures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .pages import number, spread, table

_MARKED = re.compile(r"(<!-- predictor (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SIMPLE = ("family median", "ridge on TF-IDF", "boosting on structure")
_METHODS = (*_SIMPLE, "the paper's MLP", "ours")
_ABLATIONS = ("ours", "without text", "without plan", "without first prompt", "type alone")
_UNFOLDING = ("kbqa_verification", "mapreduce_summarization", "tau_bench_airline")
_HEADS = {
    "median_error": "median rel. error",
    "log_rmse": "log-RMSE",
    "tau": "Kendall tau",
    "mean_error": "mean rel. error",
    "coverage": "80 % interval covers",
}
Measured = Mapping[str, Any]


def write_page(told: Measured, page: Path) -> None:
    """Put the tables between their marks."""
    text = page.read_text()
    page.write_text(
        _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]](told)}\n{found[3]}", text)
    )


def _values(rows: Sequence[Measured], family: str, measure: str) -> list[float]:
    return [row[family][measure] for row in rows if row[family].get(measure) is not None]


def _cell(rows: Sequence[Measured], family: str, measure: str) -> str:
    of = _values(rows, family, measure)
    return spread(of) if of else ""


def _mix(told: Measured) -> str:
    rows = []
    for method in _METHODS:
        of = told["at_arrival"][method]
        rows.append([method, *(_cell(of, "mix", measure) for measure in _HEADS)])
    rows.append(
        [
            "same input seen before",
            *(_cell(told["ceiling"], "mix", each) for each in list(_HEADS)[:4]),
            "",
        ]
    )
    return table(["the even mix, at arrival", *_HEADS.values()], rows)


def _families(told: Measured) -> str:
    rows = []
    for family in told["num_applications"]:
        cells = []
        for method in _METHODS:
            of = told["at_arrival"][method]
            three = (
                _mean(_values(of, family, each)) for each in ("median_error", "log_rmse", "tau")
            )
            cells.append(" / ".join(three))
        cover = _cell(told["at_arrival"]["ours"], family, "coverage")
        rows.append([family, *cells, cover])
    heads = ["median rel. error / log-RMSE / tau", *_METHODS, "ours covers"]
    return table(heads, rows)


def _mean(of: Sequence[float]) -> str:
    return f"{sum(of) / len(of):.2f}".replace("0.", ".", 1) if of else ""


def _stages(told: Measured) -> str:
    rows = []
    for method in ("ours", "without plan"):
        of = told["later"][f"{method}, 1"]
        for family in told["num_applications"]:
            if not of[0]["after"][family]:
                continue
            if method != "ours" and family not in _UNFOLDING:
                continue
            before, after = ([each[when] for each in of] for when in ("before", "after"))
            ratio = [
                then / first
                for then, first in zip(
                    _values(after, family, "log_rmse"), _values(before, family, "log_rmse"),
                    strict=True,
                )
            ]  # fmt: skip
            rows.append(
                [
                    family if method == "ours" else f"{family}, {method}",
                    _cell(before, family, "log_rmse"),
                    _cell(after, family, "log_rmse"),
                    spread(ratio),
                    _cell(before, family, "tau"),
                    _cell(after, family, "tau"),
                    _cell(after, family, "coverage"),
                ]
            )
    heads = [
        "", "log-RMSE at arrival", "after the first stage", "ratio", "tau at arrival",
        "after the first stage", "80 % interval covers",
    ]  # fmt: skip
    return table(heads, rows)


def _waves(told: Measured) -> str:
    rows = []
    for waves in (1, 2, 4, 8):
        of = told["later"][f"ours, {waves}"]
        after, known = [each["after"] for each in of], [{"mix": each["all"]} for each in of]
        rows.append(
            [
                str(waves),
                _cell(after, "mix", "log_rmse"),
                _cell(after, "mix", "tau"),
                _cell(after, "mix", "coverage"),
                _cell(known, "mix", "log_rmse"),
                _cell(known, "mix", "tau"),
            ]
        )
    heads = [
        "stages ended", "log-RMSE, still running", "tau", "80 % interval covers",
        "log-RMSE, all", "tau",
    ]  # fmt: skip
    return table(heads, rows)


def _ablation(told: Measured) -> str:
    rows = []
    for method in _ABLATIONS:
        of = told["at_arrival"][method]
        three = (_cell(of, "mix", each) for each in ("median_error", "log_rmse", "tau"))
        rows.append([method, *three])
    return table(["at arrival", *list(_HEADS.values())[:3]], rows)


def _cold(told: Measured) -> str:
    rows = []
    for seen in ("0", "1", "5", "20", "50", "100"):
        of = [known[seen] for known in told["cold_start"].values() if seen in known]
        cells = []
        for name in ("median", "pooled", "retrained", "pooled_after", "retrained_after"):
            means = [sum(each[name]) / len(each[name]) for each in of if name in each]
            cells.append(spread(means) if means else "")
        rows.append([seen, str(len(of)), *cells])
    heads = [
        "seen", "types", "median of those seen", "pooled", "trained with them",
        "pooled, after the first stage", "trained with them, after it",
    ]  # fmt: skip
    return table(heads, rows)


def _online(told: Measured) -> str:
    rows = []
    for stretch in told["online"]:
        cells = (spread(stretch[name]) for name in ("median", "ours", "after", "coverage"))
        rows.append([f"{stretch['from']} to {stretch['to']}", *cells])
    heads = [
        "applications ended", "log-RMSE, median of the type so far", "ours at arrival",
        "ours after the first stage", "80 % interval covers",
    ]  # fmt: skip
    return table(heads, rows)


def _latencies(told: Measured) -> str:
    of = told["latencies"]
    rows = [
        ["one prediction, text and all", f"{of['one_with_hashing_s'] * 1e3:.2f} ms", "0.5 ms"],
        ["one prediction, text hashed", f"{of['one_hashed_s'] * 1e3:.3f} ms", ""],
        ["a revision", f"{of['revision_s'] * 1e3:.3f} ms", "0.1 ms"],
        ["a batch of 64, texts hashed", f"{of['batch_of_64_s'] * 1e3:.1f} ms", "3 ms"],
        ["a batch of 64, hashing included", f"{of['batch_of_64_with_hashing_s'] * 1e3:.1f} ms", ""],
        ["training on 100 of one type", f"{of['training_100_s']:.1f} s", "5 s"],
        [
            f"training on {of['num_examples_7_types']:.0f} of seven types",
            f"{of['training_7_types_s']:.1f} s", "",
        ],
        ["training on 2,000", f"{of['training_2000_s']:.1f} s", ""],
        ["the model, seven types", f"{number(of['model_bytes'] / 1000)} kB", ""],
    ]  # fmt: skip
    return table(["one core", "median", "asked"], rows)


def _gates(told: Measured) -> str:
    """Return what was asked of the predictor, what was found, and whether it holds."""
    ours = told["at_arrival"]["ours"]
    rows = []

    def gate(what: str, of: Sequence[float], holds: Callable[[float], bool]) -> None:
        mean = sum(of) / len(of)
        rows.append([what, spread(of), "yes" if holds(mean) else "**no**"])

    for measure, better in (("median_error", min), ("log_rmse", min), ("tau", max)):
        of = _values(ours, "mix", measure)
        simple = [_values(told["at_arrival"][method], "mix", measure) for method in _SIMPLE]
        best = better(sum(each) / len(each) for each in simple)
        sign = 1 if better is max else -1
        gate(
            f"{_HEADS[measure]} better than the best simple model ({best:.3f})", of,
            lambda mean, best=best, sign=sign: sign * mean > sign * best,
        )  # fmt: skip
        if measure == "log_rmse":
            ratio = [each / best for each in of]
            gate(
                "log-RMSE at most 0.90 of the best simple model's", ratio, lambda mean: mean <= 0.9
            )
    first = told["later"]["ours, 1"]
    for family in _UNFOLDING:
        pairs = [(each["after"][family], each["before"][family]) for each in first]
        ratio = [after["log_rmse"] / before["log_rmse"] for after, before in pairs]
        gate(f"{family}: log-RMSE halved by the first stage", ratio, lambda mean: mean <= 0.5)
    gate(
        "tau over the mix at arrival at least 0.79",
        _values(ours, "mix", "tau"),
        lambda m: m >= 0.79,
    )
    gate(
        "tau over the mix after the first stage at least 0.88",
        [each["all"]["tau"] for each in first], lambda mean: mean >= 0.88,
    )  # fmt: skip
    gate(
        "80 % intervals cover 0.75 to 0.85, at arrival", _values(ours, "mix", "coverage"),
        lambda mean: 0.75 <= mean <= 0.85,
    )  # fmt: skip
    gate(
        "the same after the first stage", [each["after"]["mix"]["coverage"] for each in first],
        lambda mean: 0.75 <= mean <= 0.85,
    )  # fmt: skip
    return table(["asked", "mean (least to most)", "holds"], rows)


TABLES: dict[str, Callable[[Measured], str]] = {
    "gates": _gates,
    "mix": _mix,
    "families": _families,
    "stages": _stages,
    "waves": _waves,
    "ablation": _ablation,
    "cold": _cold,
    "online": _online,
    "latencies": _latencies,
}


def write_picture(told: Measured, file: Path) -> None:
    """Draw predicted against true costs, and how many costs the intervals cover."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (first, second, third) = pyplot.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
    for axes, when, title in (
        (first, "at_arrival", "at arrival"),
        (second, "later", "after the first stage, still running"),
    ):
        for family, of in told["points"].items():
            true, predicted = zip(*of[when], strict=True) if of[when] else ((), ())
            axes.scatter(true, predicted, s=9, alpha=0.6, label=family, linewidths=0)
        axes.plot([1e4, 2e7], [1e4, 2e7], color="black", linewidth=0.8)
        axes.set(xscale="log", yscale="log", title=title, xlabel="true cost, KV token-steps")
        axes.set(xlim=(1e4, 2e7), ylim=(1e4, 2e7))
    first.set_ylabel("predicted cost")
    first.legend(fontsize=7, loc="lower right", markerscale=2)
    families = [*told["num_applications"], "mix"]
    for shift, of, label in (
        (-0.2, told["at_arrival"]["ours"], "at arrival"),
        (0.2, [each["after"] for each in told["later"]["ours, 1"]], "after the first stage"),
    ):
        known = [_values(of, family, "coverage") for family in families]
        means = [sum(each) / len(each) if each else 0 for each in known]
        third.barh([place + shift for place in range(len(families))], means, 0.38, label=label)
    third.axvspan(0.75, 0.85, color="grey", alpha=0.25, zorder=0)
    third.set(xlim=(0, 1), title="costs within their 80 % interval")
    third.set_yticks(range(len(families)), families, fontsize=8)
    third.invert_yaxis()
    third.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncol=2)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
