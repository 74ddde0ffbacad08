"""
Training: a new version from the examples of a folder, live only if it is better.

The newest fifth of the examples is held back. The model is trained on the others, and on those it
has not seen its log-error at arrival is compared with that of the live version, which has not seen
them either, and with that of the median of each application's type. What goes live is the model
that was tried, not one trained again.

    python -m justitia_server.prediction.training DIR

does it once, in a process of its own: at low priority, on one thread, one at a time for a folder.
It ends when its standard input does, so that none outlives the server that has started it, and
prints its `Report` as JSON.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from ..fairness.cost import COMPUTE, KV_TOKEN_TIME, CostModel
from .base import Example, Model
from .scoring import answer, log_rmse, median_answer, typical_cost
from .store import Store, Stored
from .versions import Facts, Versions, write_whole

FIRST_AT = 20  # examples, for the first version
GROWTH = 0.25  # of what was there the last time, for another one
LEAST_NEW = 10
MOST_LEARNED_FROM = 4_000
HELD_BACK = 0.2
LEAST_TO_TRY = 10
STEPS = ("reading", "training", "trying", "writing")
_NICENESS = 15  # at 19 a host whose cores are all busy would not let it end within its limit
_AUTOGROUP = Path("/proc/self/autogroup")
_LOCK, _LAST = "training.lock", "training.json"


class Trained(Model, Protocol):
    """A model that can be written down."""

    def to_bytes(self) -> bytes:
        """Return it in bytes, for `Method.read`."""


@dataclass(frozen=True, slots=True)
class Method:
    """
    How models are made.

    Attributes:
        train: (examples, seed) to a model.
        read: The bytes of one to the model; raises if they are none.
    """

    train: Callable[[Sequence[Example], int], Trained]
    read: Callable[[bytes], Model]


@dataclass(frozen=True, slots=True)
class Report:
    """
    What became of a training run.

    Attributes:
        outcome: "better" (it is live), "not_better", "forced" (live all the same), "too_few"
            (examples), or "busy" (another process trains here).
        num_examples: Examples there were to learn from, those held back included.
        num_held_back: How many of them were.
        version: Number of the new version; None if there is none.
        log_rmse: Error of the new model on those held back.
        current_log_rmse: That of the version that was live; None without one.
        median_log_rmse: That of the median of the application's type.
    """

    outcome: str
    num_examples: int = 0
    num_held_back: int = 0
    version: int | None = None
    log_rmse: float = math.nan
    current_log_rmse: float | None = None
    median_log_rmse: float = math.nan


@dataclass(frozen=True, slots=True)
class LastRun:
    """
    The last training run of a folder: the newest example it saw, how many, and when it began.

    Attributes:
        newest_id: Number of the newest example there was.
        num_examples: How many it learned from, those held back included.
        began_at: Unix seconds; 0 if there was none.
    """

    newest_id: int = 0
    num_examples: int = 0
    began_at: float = 0.0


def neural(cost_model: CostModel) -> Method:
    """Return the server's own method (`learned`)."""
    from .learned import LearnedModel, train

    return Method(
        lambda examples, seed: train(examples, seed=seed, cost_model=cost_model),
        LearnedModel.from_bytes,
    )


def cost_model_named(unit: str) -> CostModel:
    """Return the cost model that a store or a version names."""
    return {model.name: model for model in (KV_TOKEN_TIME, COMPUTE)}[unit]


def is_due(store: Store) -> bool:
    """Whether there are enough new examples in *store* for another training run."""
    last = last_run(store.folder)
    wanted = FIRST_AT
    if last.num_examples >= FIRST_AT:
        wanted = max(LEAST_NEW, math.ceil(GROWTH * last.num_examples))
    return store.num_after(last.newest_id) >= wanted


def last_run(folder: Path) -> LastRun:
    """Return what is known of the last training run in *folder*."""
    try:
        return LastRun(**json.loads((folder / _LAST).read_bytes()))
    except (OSError, ValueError, TypeError):
        return LastRun()


def forget_last_run(folder: Path) -> None:
    """Begin counting new examples anew."""
    (folder / _LAST).unlink(missing_ok=True)


def train_if_better(
    store: Store,
    versions: Versions,
    *,
    seed: int,
    now: float,
    method: Method | None = None,
    always: bool = False,
    on_step: Callable[[str], None] = lambda doing: None,
) -> Report:
    """
    Train on the examples of *store*, and make the model live if it is better.

    Args:
        store: The examples.
        versions: Where the live version is, and the new one will be.
        seed: Of all chance.
        now: Unix seconds.
        method: How models are made; the server's own unless told.
        always: Make it live whatever its error is.
        on_step: Told of each of `STEPS` as it begins.

    Raises:
        OSError: The new version cannot be written.

    Changes: the last run of the folder; the versions.
    """
    on_step("reading")
    stored = store.latest(MOST_LEARNED_FROM)
    last = LastRun(store.newest_id, len(stored), now)
    write_whole(store.folder / _LAST, json.dumps(asdict(last)).encode())
    return train_on(
        stored, versions, store.unit, seed=seed, now=now, method=method, always=always,
        on_step=on_step,
    )  # fmt: skip


def train_on(
    stored: Sequence[Stored],
    versions: Versions,
    unit: str,
    *,
    seed: int,
    now: float,
    method: Method | None = None,
    always: bool = False,
    on_step: Callable[[str], None] = lambda doing: None,
) -> Report:
    """
    Train on *stored*, oldest first, whose costs are in *unit*; the rest as `train_if_better`.

    Raises:
        OSError: The new version cannot be written.

    Changes: the versions.
    """
    method = method or neural(cost_model_named(unit))
    if len(stored) < LEAST_TO_TRY:
        return Report("too_few", len(stored))
    num_learned = len(stored) - round(HELD_BACK * len(stored))
    learned = [each.example for each in stored[:num_learned]]
    held_back = [each.example for each in stored[num_learned:]]
    on_step("training")
    model = method.train(learned, seed)
    on_step("trying")
    report = _try(model, learned, held_back, versions, method, unit)
    if report.outcome == "not_better" and not always:
        return report
    on_step("writing")
    facts = Facts(
        now, num_learned, stored[num_learned - 1].id, len(held_back),
        report.log_rmse, report.median_log_rmse, unit,
    )  # fmt: skip
    version = versions.publish(model.to_bytes(), facts)
    outcome = "better" if report.outcome == "better" else "forced"
    return replace(report, outcome=outcome, version=version.number)


def _try(
    model: Model,
    learned: Sequence[Example],
    held_back: Sequence[Example],
    versions: Versions,
    method: Method,
    unit: str,
) -> Report:
    """Return the errors of all three on what was held back."""
    typical = typical_cost(learned)

    def error(tried: Model) -> float:
        return log_rmse(answer(tried, each, otherwise=typical) for each in held_back)

    new = error(model)
    median = log_rmse(median_answer(each, otherwise=typical) for each in held_back)
    found = versions.load(method.read)
    current = None
    if found is not None and found[0].facts.unit == unit:
        current = error(found[1])
    is_better = new < median and (current is None or new < current)
    return Report(
        "better" if is_better else "not_better", len(learned) + len(held_back), len(held_back),
        None, new, current, median,
    )  # fmt: skip


# -- a process of its own ----------------------------------------------------------------


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Give whether this process is the only one that trains in *folder* during the block."""
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)  # and with it the lock


def main(words: Sequence[str]) -> int:
    """Train once in the folder that *words* name, and print the report."""
    (folder,) = map(Path, words)
    _give_way()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with only_one(folder) as is_alone:
        report = _train_once(folder) if is_alone else Report("busy")
    sys.stdout.write(json.dumps(asdict(report)) + "\n")
    return 0


def use_one_thread() -> None:
    """Let this process train on one thread: more of them hinder each other on small networks."""
    import torch

    torch.set_num_threads(1)


def _train_once(folder: Path) -> Report:
    use_one_thread()
    versions = Versions(folder)
    seed = 1 + (versions.current_number or 0)
    with Store.open_to_read(folder) as store:
        if not is_due(store):  # another process has just done it
            return Report("busy")
        return train_if_better(store, versions, seed=seed, now=time.time())


def _give_way() -> None:
    """
    Let everyone else have the processor first.

    Linux may share it among sessions before it does within one (autogroups). Then niceness is
    worth nothing to other sessions, and what we use is taken from our own, which is the server's:
    so the server gives us a session of our own, and all of that is nice.
    """
    os.nice(_NICENESS)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # no Linux, or no autogroups
            _AUTOGROUP.write_text(str(_NICENESS))


def _end_with_parent() -> None:
    """End this process once nobody holds the other end of its standard input."""
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
