"""Where `justitia predictor` finds what it works on: a folder, or a workload file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from justitia_sdk.errors import ConfigurationError

from .simulate import quiet_engine

if TYPE_CHECKING:
    from justitia_server.prediction.store import Store, Stored

_STORE = typer.Option(
    metavar="DIR", help="Folder of `justitia serve --predictor`; the only one there is."
)
StoreOption = Annotated[Path | None, _STORE]


@dataclass(frozen=True, slots=True)
class ExamplesOptions:
    """What to learn from."""

    store: Annotated[Path | None, _STORE] = None
    workload: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Applications of a workload file instead, with input_text if it has any.",
        ),
    ] = None

    def read(self) -> tuple[Sequence[Stored], str]:
        """
        Return examples, oldest first, as many as a server learns from, and the unit of costs.

        Raises:
            ConfigurationError: They cannot be read.
        """
        from justitia_server.prediction.training import MOST_LEARNED_FROM

        if self.workload is not None:
            return _examples_of_workload(self.workload)
        with reading(folder_of(self.store)) as store:
            return store.latest(MOST_LEARNED_FROM), store.unit


def folder_of(told: Path | None) -> Path:
    """
    Return the folder that is meant: the one told, else the only one in the user's data directory.

    Raises:
        ConfigurationError: There is none there, or there are several.
    """
    if told is not None:
        return told
    quiet_engine()
    from justitia_server.serve.predictor import predictors_home

    home = predictors_home()
    found = sorted(path for path in home.glob("*") if path.is_dir())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigurationError(
            f"no server has learned anything in {home} yet: name another folder with --store"
        )
    listed = ", ".join(str(path) for path in found)
    raise ConfigurationError(f"several models were served: choose one with --store: {listed}")


@contextmanager
def reading(folder: Path) -> Iterator[Store]:
    """
    Give the store of *folder* to read.

    Raises:
        ConfigurationError: There is none, or it cannot be read, at the beginning or later.
    """
    from justitia_server.prediction.store import Store

    with Store.open_to_read(folder) as store:
        try:
            yield store
        except sqlite3.Error as error:
            raise ConfigurationError(f"the examples in {folder} cannot be read: {error}") from error


def _examples_of_workload(file: Path) -> tuple[Sequence[Stored], str]:
    quiet_engine()
    from justitia_server.fairness.cost import KV_TOKEN_TIME
    from justitia_server.prediction.store import Stored
    from justitia_server.simulation.examples import examples_of
    from justitia_server.simulation.workload import read_workload

    examples = examples_of(read_workload(file))
    return [Stored(0, each) for each in examples], KV_TOKEN_TIME.name
