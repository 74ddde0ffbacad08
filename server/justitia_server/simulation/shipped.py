"""Applications and arrivals by name: those that come with the package, or files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from justitia_sdk.errors import ConfigurationError

from .arrivals import Stamp, read_arrivals
from .workload import Application, read_applications


def named_families(names: Sequence[str] = ()) -> dict[str, list[Application]]:
    """
    Return applications by type.

    Args:
        names: Types that ship, or files, whose stems become the names; none for all that ship.

    Raises:
        ConfigurationError: There is no such type or file, or two have the same name.
    """
    shipped = _shipped("apps")
    families: dict[str, list[Application]] = {}
    for told in names or sorted(shipped):
        name = told if told in shipped else Path(told).stem
        if name in families:
            raise ConfigurationError(f"two families are called {name!r}: rename one of the files")
        families[name] = read_applications(_found(told, shipped, "applications"))
    return families


def named_arrivals(name: str) -> list[Stamp]:
    """
    Return the arrivals called *name*, one that ships, or a file's.

    Raises:
        ConfigurationError: There is no such thing, or it cannot be read.
    """
    return read_arrivals(_found(name, _shipped("arrivals"), "arrivals"))


def _found(name: str, shipped: dict[str, Path], kind: str) -> Path:
    path = shipped.get(name, Path(name))
    if not path.is_file():
        there_are = ", ".join(sorted(shipped))
        raise ConfigurationError(f"no {kind} called {name!r}: give a file, or one of {there_are}")
    return path


def _shipped(kind: str) -> dict[str, Path]:
    with as_file(files(__package__) / "data" / kind) as folder:
        return {path.stem: path for path in folder.iterdir()}
