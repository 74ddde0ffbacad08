"""
What DSPy's modules are called, and what they are made of: names of runs and calls, and plans.

Says nothing to anybody; used by the integration of DSPy alone, which makes sure that it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import dspy

from justitia_sdk import Plan, Stage


def _here(*names: str) -> tuple[Any, ...]:
    return tuple(getattr(dspy, name) for name in names if hasattr(dspy, name))


_LOOPING = _here("ReAct", "ReActV2", "CodeAct", "ProgramOfThought")
_LOOPS = ("react", "codeact", "code_regenerate")  # their parts that run up to `max_iters` times
_COPYING = _here("BestOfN", "Refine")  # run copies of their module, which have no place in it
_UNPLANNED = _here("RLM")  # the model itself writes the program
_MAX_NAME = 128  # characters of a name, on the wire
_MAX_STAGES = 32


def plan_of(thing: object) -> Plan | None:
    """
    Return the plan of a module: a stage for each of its predictors, of one call each.

    Those in DSPy's own loops are repeated as often as the module may; what a module's own code
    repeats or leaves out is not seen. None where the model itself writes the program.
    """
    return _plan(_stages_of(thing).values()) if isinstance(thing, dspy.Module) else None


def plan_of_burst(
    modules: Iterable[Any], *, within: Iterable[Any], num_threads: int
) -> Plan | None:
    """
    Return the plan of runs of *modules*, so many at a time: their stages, with all their calls.

    Args:
        modules: One for each run.
        within: The modules that run them, outermost first: calls are labelled by these.
        num_threads: Most runs at the same time.
    """
    names = names_in(within)
    runs: dict[int, list[Any]] = {}
    for module in modules:
        runs.setdefault(id(module), []).append(module)
    counts: Counter[str] = Counter()
    stages: dict[str, Stage] = {}
    for same in runs.values():
        for predictor, stage in _stages_of(same[0]).items():
            name = names.get(predictor, stage.name)
            counts[name] += len(same)
            stages[name] = replace(stage, name=name)
    return _plan(_many(stage, counts[name], num_threads) for name, stage in stages.items())


def names_in(modules: Iterable[Any]) -> dict[int, str]:
    """Return the names of all predictors, by their ids, in the first of *modules* that has each."""
    names: dict[int, str] = {}
    for module in modules:
        for name, predictor in module.named_predictors():
            names.setdefault(id(predictor), label_of(name, predictor))
    return names


def _stages_of(module: Any) -> dict[int, Stage]:
    """Return a module's stages, by the ids of their predictors."""
    parts = [part for _, part in module.named_sub_modules(dspy.Module)]
    if any(isinstance(part, _UNPLANNED) for part in parts):
        return {}
    stages = {key: Stage(name) for key, name in names_in([module]).items()}
    for part in parts:
        for predictor, loop in _loops_of(part):
            if (stage := stages.get(id(predictor))) is not None:
                stages[id(predictor)] = replace(stage, loop=stage.loop * loop)
    for part in parts:
        if isinstance(part, _COPYING):
            for key, name in names_in([part.module]).items():
                if (stage := stages.pop(key, None)) is not None:
                    stages[-key] = replace(stage, name=name, loop=stage.loop * max(1, part.N))
    return stages


def _loops_of(module: Any) -> Iterator[tuple[Any, int]]:
    """Yield the predictors that *module* repeats in a loop of its own, and how often at most."""
    if isinstance(module, _LOOPING):
        for part in filter(None, (getattr(module, name, None) for name in _LOOPS)):
            for predictor in part.predictors():
                yield predictor, max(1, module.max_iters)


def _many(stage: Stage, num_runs: int, num_threads: int) -> Stage:
    burst = Stage.of(stage.name, calls=num_runs, parallel=num_threads)
    return replace(burst, loop=burst.loop * stage.loop)


def _plan(stages: Iterable[Stage]) -> Plan | None:
    named = {stage.name: stage for stage in stages}
    return Plan(tuple(named.values())) if 0 < len(named) <= _MAX_STAGES else None


def name_of(module: Any) -> str:
    """Return the name of the module's class; of one of DSPy's own, what it is used for as well."""
    kind = type(module)
    if not kind.__module__.startswith("dspy."):
        return str(kind.__name__)
    signature = getattr(module, "signature", None)
    if signature is None:
        signature = next((each.signature for each in module.predictors()), None)
    text = kind.__name__ if signature is None else f"{kind.__name__}: {_text_of(signature)}"
    return text[:_MAX_NAME]


def label_of(name: str, predictor: Any) -> str:
    """Return a predictor's name in a module; of one that stands alone, what it does."""
    return (name if name != "self" else _text_of(predictor.signature))[:_MAX_NAME]


def _text_of(signature: Any) -> str:
    named = signature.__name__
    return str(signature.signature if named == "StringSignature" else named)
