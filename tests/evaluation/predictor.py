"""
How well costs are predicted: measures ours beside simple models, and writes the page.

    PYTHONPATH=tests python -m evaluation.predictor --workloads DIR [--out docs/results] [--seeds N]

DIR holds `apps/*.jsonl` and `inputs/*.jsonl`. Everything is predicted by models that have seen
neither the application nor its repeats: five folds, another split each seed. Measures go to
OUT/data/predictor.json, the picture to OUT/predictor.png, and the tables into OUT/predictor.md,
between its marks. `--pages` makes picture and tables anew of the data.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from justitia_server.prediction.base import Example
from justitia_server.prediction.learned import LearnedModel, train
from justitia_server.prediction.scoring import Answer

from .pages import RESULTS
from .predictor_baselines import BASELINES
from .predictor_data import (
    NUM_FOLDS,
    NUM_TRAINING,
    Told,
    drawn,
    fold_of,
    in_turn,
    read_families,
    standing,
)
from .predictor_measures import (
    ask,
    by_family,
    ceiling,
    cold_start,
    latencies,
    online,
    points,
    progress,
)
from .predictor_page import write_page, write_picture

FIRST_SEED = 100  # the method was made looking at splits 0 to 2, and once at 100
WAVES = (1, 2, 4, 8)
NUM_COLD_SEEDS = 3
Families = dict[str, list[Told]]
Strip = Callable[[Example], Example]
Answers = dict[str, list[Answer | None]]


def _without_plan(example: Example) -> Example:
    return replace(example, question=replace(example.question, plan=None))


def _without_text(example: Example) -> Example:
    return replace(example, text=None)


def _without_prompt(example: Example) -> Example:
    return replace(example, question=replace(example.question, first_prompt_tokens=None))


OURS: dict[str, Strip] = {
    "ours": lambda example: example,
    "without text": _without_text,
    "without plan": _without_plan,
    "without first prompt": _without_prompt,
    "type alone": lambda example: _without_prompt(_without_plan(_without_text(example))),
}


@dataclass
class Split:
    """
    What was said of every application in one split.

    Attributes:
        seed: Of the split.
        at_arrival: By method.
        later: By method of ours and waves ended; None of an application that had ended by then.
    """

    seed: int
    at_arrival: dict[str, Answers]
    later: dict[tuple[str, int], Answers]


def main() -> int:
    """Measure, write data, picture and page."""
    options = _options()
    data = options.out / "data" / "predictor.json"
    if not options.pages:
        told = _measure(read_families(options.workloads), options.seeds, Console())
        data.parent.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(_rounded(told), separators=(",", ":")) + "\n")
    told = json.loads(data.read_text())
    write_picture(told, options.out / "predictor.png")
    write_page(told, options.out / "predictor.md")
    return 0


def _rounded(told: Any) -> Any:
    """Return *told* with five digits a number: more is chance."""
    if isinstance(told, float):
        return float(f"{told:.5g}")
    if isinstance(told, list):
        return [_rounded(each) for each in told]
    if isinstance(told, dict):
        return {name: _rounded(each) for name, each in told.items()}
    return told


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluation.predictor", description=__doc__)
    parser.add_argument("--workloads", type=Path, help="folder with apps/ and inputs/")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=5, help="splits")
    parser.add_argument("--pages", action="store_true", help="only write picture and page")
    options = parser.parse_args()
    if not (options.out / "predictor.md").is_file():
        parser.error(f"{options.out} has no predictor.md to write the tables into: give --out")
    if not options.pages and options.workloads is None:
        parser.error("--workloads DIR names the folder with apps/ and inputs/")
    return options


def _measure(families: Families, num_seeds: int, console: Console) -> dict[str, Any]:
    """Return all measures; lists have one entry a split."""
    import torch

    torch.set_num_threads(1)
    splits = []
    for seed in range(FIRST_SEED, FIRST_SEED + num_seeds):
        splits.append(_split(families, seed))
        console.print(f"split {seed} done")
    told: dict[str, Any] = {
        "num_applications": {family: len(of) for family, of in families.items()},
        "at_arrival": {
            method: [by_family(each.at_arrival[method], each.seed) for each in splits]
            for method in (*BASELINES, *OURS)
        },
        "later": {
            f"{method}, {waves}": [
                progress(each.at_arrival[method], each.later[method, waves], each.seed)
                for each in splits
            ]
            for method, waves in splits[0].later
        },
        "ceiling": [ceiling(families, each.at_arrival["ours"], each.seed) for each in splits],
        "points": points(families, splits[0].at_arrival["ours"], splits[0].later["ours", 1]),
    }
    told["cold_start"] = cold_start(families, range(FIRST_SEED, FIRST_SEED + NUM_COLD_SEEDS))
    console.print("cold start done")
    told["online"] = online(families, range(FIRST_SEED, FIRST_SEED + num_seeds))
    told["latencies"] = latencies(families)
    return told


def _split(families: Families, seed: int) -> Split:
    """Return what everybody says of every application, each by models without its fold."""

    def nothing() -> Answers:
        return {family: [None] * len(of) for family, of in families.items()}

    split = Split(
        seed,
        {method: nothing() for method in (*BASELINES, *OURS)},
        {(method, waves): nothing() for method in ("ours", "without plan") for waves in WAVES},
    )
    folds = {family: fold_of(of, seed) for family, of in families.items()}
    for fold in range(NUM_FOLDS):
        training = {
            family: _others(of, folds[family], fold, seed) for family, of in families.items()
        }
        places = {
            family: [place for place, mine in enumerate(of) if mine == fold]
            for family, of in folds.items()
        }
        _ask_baselines(split, families, training, places)
        _ask_ours(split, families, training, places)
    return split


def _others(of: Sequence[Told], folds: Sequence[int], fold: int, seed: int) -> list[Told]:
    kept = [each for each, mine in zip(of, folds, strict=True) if mine != fold]
    return drawn(kept, NUM_TRAINING, seed)


def _ask_baselines(
    split: Split, families: Families, training: Families, places: Mapping[str, Sequence[int]]
) -> None:
    for name, baseline in BASELINES.items():
        for family, of in families.items():
            test = [of[place] for place in places[family]]
            costs = baseline(training[family], test, split.seed)
            for place, cost in zip(places[family], costs, strict=True):
                answer = Answer(float(cost), of[place].example.cost)
                split.at_arrival[name][family][place] = answer


def _ask_ours(
    split: Split, families: Families, training: Families, places: Mapping[str, Sequence[int]]
) -> None:
    for name, strip in OURS.items():
        model = _trained(training, split.seed, strip)
        for family, of in families.items():
            known = standing([each.example.cost for each in training[family]])
            for place in places[family]:
                asked = replace(strip(of[place].example), standing=known)
                split.at_arrival[name][family][place] = ask(model, asked)
                for waves in WAVES if (name, 1) in split.later else ():
                    later = _ask_later(model, asked, waves)
                    split.later[name, waves][family][place] = later


def _trained(training: Families, seed: int, strip: Strip) -> LearnedModel:
    """Return a model of *training*, the families mixed as they might have come."""
    examples = [strip(each) for of in training.values() for each in in_turn(of)]
    random.Random(seed).shuffle(examples)
    return train(examples, seed=seed)


def _ask_later(model: LearnedModel, example: Example, num_waves: int) -> Answer | None:
    """Return what is said once so many waves have ended and the next has begun."""
    for glimpse in example.glimpses:
        if glimpse.num_waves == num_waves + 1:
            return ask(model, example, glimpse)
    return None


if __name__ == "__main__":
    sys.exit(main())
