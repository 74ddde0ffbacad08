"""
Runs everything, on all cores, and says what held: `make prove`.

    python -m proofs.prove [--only bound,gaming,starvation] [--share 1.0]
                           [--json FILE] [--figures DIR]

Exits with 1 where a form of the bound that is claimed was exceeded, the books differed from the
shadow reference, an order differed, or a game that must not pay paid.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import claims, gaming, starvation

PARTS = ("bound", "gaming", "starvation")
MOST_GAIN = 0.05
SETTINGS = range(9)  # one, two, three honest tenants at loads 1, 1.5 and 2
FIRST_SETTINGS = (0, 3, 6)  # with one honest tenant, whom it hurts most
FIRST_LOOPS = (
    ("predicted", "debt"), ("modelled", "debt"), ("believed", "debt"), ("believed", "none"),
)  # fmt: skip
MOST_EXTRA = 1.0  # lateness of an honest application, in C_max / M

Job = tuple[str, Callable[..., Any], tuple[Any, ...]]


def main() -> int:
    """Run what is asked for, print tables, and return 1 if something did not hold."""
    options = _options()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # read by each worker at its start
    console = Console(width=max(110, Console().width))
    jobs = [job for part in options.only for job in _jobs(part, options.share)]
    began = time.monotonic()
    results = _run(jobs, console)
    failures: list[str] = []
    for title, show in _SHOWN.items():
        if title in results:
            failures += show(console, results[title])
    if options.figures and "starvation" in results:
        starvation.draw(results["starvation"], options.figures / "starvation.png")
    if options.figures and "bound" in results:
        claims.draw(results["bound"], options.figures / "lateness.png")
    if options.json:
        options.json.write_text(json.dumps(_plain(results), indent=1))
    console.print(f"{len(jobs)} runs in {(time.monotonic() - began) / 60:.1f} minutes")
    for failure in failures:
        console.print(f"[red]does not hold:[/] {failure}")
    console.print("[red]violated[/]" if failures else "[green]all claims held[/]")
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proofs.prove", description=__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--share", type=float, default=1.0, help="of the random workloads")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figures", type=Path, help="where to write PNGs")
    return parser.parse_args()


# -- running -----------------------------------------------------------------------------


def _jobs(part: str, share: float) -> list[Job]:
    if part == "gaming":
        games: list[Job] = [
            ("gaming", gaming.play_all, (loop, seed)) for loop in gaming.LOOPS for seed in SETTINGS
        ]
        return games + [
            ("first", gaming.play_first, (loop, seed, debt))
            for seed in FIRST_SETTINGS
            for loop, debt in FIRST_LOOPS
        ]
    if part == "starvation":
        return [
            ("starvation", starvation.starve, (policy, number))
            for number in sorted(starvation.NUMBERS, reverse=True)
            for policy in starvation.POLICIES
        ]
    if part != "bound":
        raise SystemExit(f"no part {part!r}; choose from: {', '.join(PARTS)}")
    adversaries: list[Job] = [
        ("adversaries", claims.measure_adversary, (name,)) for name in claims.ADVERSARIES
    ]
    orders: list[Job] = [
        ("orders", _same_order, (seed,)) for seed in range(max(1, round(100 * share)))
    ]
    return [
        *adversaries,
        *orders,
        *(
            ("bound", claims.measure, (claim.name, seed))
            for claim in claims.CLAIMS.values()
            for seed in range(max(1, round(claim.number * share)))
        ),
    ]


def _same_order(seed: int) -> bool:
    expected, without, with_overlap = claims.orders_of_admission(seed)
    return expected == without == with_overlap


def _run(jobs: list[Job], console: Console) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = defaultdict(list)
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn())
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool,
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
    ):
        futures: dict[Future[Any], str] = {}
        for kind, function, arguments in jobs:
            futures[pool.submit(function, *arguments)] = kind
        bars = {
            kind: progress.add_task(kind, total=sum(each == kind for each in futures.values()))
            for kind in dict.fromkeys(futures.values())
        }
        for future in as_completed(futures):
            kind = futures[future]
            results[kind].append(future.result())
            progress.advance(bars[kind])
    return results


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


# -- showing -----------------------------------------------------------------------------


def _show_bound(console: Console, results: list[claims.Measured]) -> list[str]:
    table = _table("Worst lateness of a workload, over the limit", "claim", "runs", "apps", "late",
                   "form", "median", "99 %", "worst", "over")  # fmt: skip
    failures: list[str] = []
    for name, claim in claims.CLAIMS.items():
        mine = [each for each in results if each.claim == name]
        failures += _complaints(mine)
        for index, form in enumerate((*claim.held, *claim.shown)):
            shares = sorted(each.shares[form.__name__] for each in mine)
            num_over = sum(share > 1 for share in shares)
            head = (name, len(mine), *_lateness(mine)) if index == 0 else ("", "", "", "")
            table.add_row(
                *map(str, head), form.__name__, f"{statistics.median(shares):.2f}",
                f"{shares[int(0.99 * len(shares))]:.2f}", f"{shares[-1]:.3f}", str(num_over),
            )  # fmt: skip
            if num_over and form in claim.held:
                failures.append(f"{name}: {form.__name__} exceeded in {num_over} workloads")
    console.print(table)
    return failures


def _lateness(results: list[claims.Measured]) -> tuple[str, str]:
    number = sum(each.num_applications for each in results)
    late = sum(each.num_late for each in results)
    return f"{number:,}", f"{late / number:.0%}"


def _show_adversaries(console: Console, results: list[claims.Measured]) -> list[str]:
    table = _table("Workloads made to be bad", "workload", "form", "lateness over it", "must be")
    failures = _complaints(results)
    by_name = {each.claim: each for each in results}
    for name, adversary in claims.ADVERSARIES.items():
        for form in (*adversary.broken, *adversary.held):
            share, is_held = by_name[name].shares[form.__name__], form in adversary.held
            table.add_row(name, form.__name__, f"{share:.2f}", "held" if is_held else "broken")
            if (share <= 1) != is_held:
                failures.append(f"{name}: {form.__name__} at {share:.2f}")
    console.print(table)
    return failures


def _show_orders(console: Console, results: list[bool]) -> list[str]:
    console.print(f"Admitted as the tags say, overlap on and off: {sum(results)} of {len(results)}")
    return [] if all(results) else ["the order of admission differs"]


def _show_gaming(console: Console, results: list[list[gaming.Compared]]) -> list[str]:
    title = "Games: gain in mean JCT; extra lateness (in C_max/M) and JCT of the honest"
    table = _table(title, "cost", "game", "gain", "least", "most", "extra", "most", "JCT", "most")
    compared = [each for group in results for each in group]
    failures = _complaints(compared)
    for loop in gaming.LOOPS:
        for game in gaming.GAMES:
            mine = [each for each in compared if (each.loop, each.game) == (loop, game)]
            gains, extras = [each.gain for each in mine], [each.extra for each in mine]
            jcts = [each.honest_jct for each in mine]
            table.add_row(
                loop, game, f"{statistics.fmean(gains):+.1%}", f"{min(gains):+.1%}",
                f"{max(gains):+.1%}", f"{statistics.median(extras):.2f}", f"{max(extras):.2f}",
                f"{statistics.fmean(jcts):.2f}", f"{max(jcts):.2f}",
            )  # fmt: skip
            if loop != "believed" and max(gains) > MOST_GAIN:
                failures.append(f"{game} pays, {loop}: {max(gains):+.1%}")
            if loop != "believed" and max(extras) > MOST_EXTRA:
                failures.append(
                    f"{game}, {loop}, costs an honest application {max(extras):.2f} C_max/M"
                )
    console.print(table)
    _show_by_ten(console, compared)
    return failures


def _show_by_ten(console: Console, compared: list[gaming.Compared]) -> None:
    """Show how fast a game stops paying."""
    tens = [f"{first + 1}-{first + 10}" for first in range(0, gaming.NUM_APPLICATIONS, 10)]
    table = _table("Gain by tens of the gamer's applications, mean of all settings", "cost", "game",
                   *tens)  # fmt: skip
    for loop in gaming.LOOPS:
        for game in gaming.GAMES:
            mine = [each.gains for each in compared if (each.loop, each.game) == (loop, game)]
            means = (statistics.fmean(gains) for gains in zip(*mine, strict=True))
            table.add_row(loop, game, *(f"{gain:+.0%}" for gain in means))
    console.print(table)


def _show_first(console: Console, results: list[list[gaming.Compared]]) -> list[str]:
    title = "Some applications declare a tenth: worst lateness of the honest, in C_max/M"
    table = _table(title, "cost", "debt", "setting", "none", *(each.game for each in results[0]))
    for group in sorted(results, key=lambda each: (each[0].loop, each[0].debt, each[0].seed)):
        one = group[0]
        lateness = (one.late_honest, *(each.late_gamed for each in group))
        table.add_row(one.loop, one.debt, str(one.seed), *(f"{each:.2f}" for each in lateness))
    console.print(table)
    return _complaints(each for group in results for each in group)


def _show_starvation(console: Console, results: list[starvation.Starved]) -> list[str]:
    table = _table("One large application against small ones, one a second", "policy",
                   *(f"large, {n}" for n in starvation.NUMBERS),
                   *(f"small, {n}" for n in starvation.NUMBERS))  # fmt: skip
    by_key = {(each.policy, each.num_small): each for each in results}
    for policy in starvation.POLICIES:
        mine = [by_key[policy, number] for number in starvation.NUMBERS]
        table.add_row(
            policy, *(f"{each.large_jct_s:.1f}" for each in mine),
            *(f"{each.small_jct_s:.1f}" for each in mine),
        )  # fmt: skip
    console.print(table)
    large = [by_key["justitia", number].large_jct_s for number in starvation.NUMBERS]
    failures = _complaints(results)
    return failures if max(large) < 1.05 * min(large) else [*failures, "the large one starves"]


def _complaints(results: Iterable[Any]) -> list[str]:
    return [
        f"{_name(each)}: {'; '.join(each.complaints[:2])}" for each in results if each.complaints
    ]


def _name(result: Any) -> str:
    fields = ("claim", "game", "loop", "policy", "num_small", "seed")
    return " ".join(str(getattr(result, field)) for field in fields if hasattr(result, field))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right")
    return table


_SHOWN: dict[str, Callable[[Console, list[Any]], list[str]]] = {
    "bound": _show_bound,
    "adversaries": _show_adversaries,
    "orders": _show_orders,
    "gaming": _show_gaming,
    "first": _show_first,
    "starvation": _show_starvation,
}

if __name__ == "__main__":
    sys.exit(main())
