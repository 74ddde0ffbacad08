"""
The versions of a model: files of one folder, and which of them is live.

    model-000003.bin    the model, as it gives itself in bytes
    model-000003.json   `Facts` about it, and the checksum of the model
    current             name of the live version, "model-000003"

Every file appears whole or not at all: it is written under another name, forced to the disk, and
renamed. A version counts once its facts are there, and it is live once `current` says so; so after
a crash at any point the version before is live. One that is damaged, or that this code cannot read,
is set aside, named in the log, and the next older one takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from justitia_sdk.errors import ConfigurationError

logger = logging.getLogger("justitia.server.prediction")

NUM_KEPT = 5
FORMAT = 1
_POINTER = "current"
_NAME = re.compile(r"model-(\d{6})")
_MODEL, _FACTS = ".bin", ".json"
_ASIDE = ".corrupt"

_Model = TypeVar("_Model")


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What is known of a version.

    Attributes:
        trained_at: Unix seconds.
        num_examples: It was trained on so many.
        newest_id: Number of the newest example it has seen; 0 if it is not from a store.
        num_held_back: Applications that it was tried on before, unseen.
        log_rmse: Its error on those, at arrival: root mean square of log(predicted / true).
        median_log_rmse: That of the median of the application's type.
        unit: Name of the cost model.
        checksum: SHA-256 of the model's file.
        format: Of these files.
    """

    trained_at: float
    num_examples: int
    newest_id: int
    num_held_back: int
    log_rmse: float
    median_log_rmse: float
    unit: str
    checksum: str = ""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Version:
    """A version: its number, from 1, the size of the model in bytes, and what is known of it."""

    number: int
    num_bytes: int
    facts: Facts


class Versions:
    """The versions in a folder, which need not be there before the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Version]:
        """Return the versions whose files are whole in number, the oldest first."""
        found = (self._version(number) for number in self._numbers(_FACTS))
        return [version for version in found if version is not None]

    @property
    def current_number(self) -> int | None:
        """Number of the live version; None if there is none. One small file is read."""
        try:
            said = (self.folder / _POINTER).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None
        if match := _NAME.fullmatch(said):
            return int(match[1])
        return max((version.number for version in self.all()), default=None)

    def current(self) -> Version | None:
        """Return the live version; None if there is none, or it is damaged."""
        number = self.current_number
        return None if number is None else self._version(number)

    def load(self, read: Callable[[bytes], _Model]) -> tuple[Version, _Model] | None:
        """
        Return the live version and its model; None if there is none.

        Args:
            read: Makes the model from its bytes; raises whatever it likes if it cannot.

        Changes: what cannot be read is set aside, and the next older version becomes live.
        """
        wanted = self.current_number
        numbers = [number for number in self._numbers(_FACTS) if number <= (wanted or 0)]
        for number in reversed(numbers):
            try:
                version = self._sound(number)
                model = read(self._path(number, _MODEL).read_bytes())
            except PermissionError as error:  # nothing is wrong with the file
                logger.warning("model version %d cannot be read: %s", number, error)
                continue
            except Exception as error:  # a damaged file may fail anywhere in its reader
                self._set_aside(number, error)
                continue
            if number != wanted:
                self._point_to(number)
            return version, model
        return None

    def publish(self, model: bytes, facts: Facts) -> Version:
        """
        Add a version and make it live; all but the latest few, and what was live, go.

        One process at a time may (`training.only_one`).

        Raises:
            OSError: The folder cannot be written; what was live stays so.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = 1 + max(self._numbers(""), default=0)
        for left in self.folder.glob(".model-*.tmp"):  # of one that was killed while it wrote
            left.unlink(missing_ok=True)
        told = asdict(facts) | {"checksum": hashlib.sha256(model).hexdigest()}
        write_whole(self._path(number, _MODEL), model)
        write_whole(self._path(number, _FACTS), json.dumps(told, indent=1).encode())
        was_live = self.current_number
        self._point_to(number)
        self._drop_old(was_live)
        return Version(number, len(model), Facts(**told))

    def roll_back(self, number: int | None = None) -> Version:
        """
        Make an older version live, the one before the live one unless told.

        Raises:
            ConfigurationError: There is no such version.
            OSError: The folder cannot be written.
        """
        known = self.all()
        if not known:
            raise ConfigurationError(f"there is no version in {self.folder}: none was trained yet")
        current = self.current_number or 0
        if number is None:
            number = max((each.number for each in known if each.number < current), default=0)
            if not number:
                raise ConfigurationError(
                    f"no version in {self.folder} is older than the live one, {current}: "
                    "`justitia predictor reset --keep-examples` removes it"
                )
        for version in known:
            if version.number == number:
                self._point_to(number)
                return version
        listed = ", ".join(str(each.number) for each in known)
        raise ConfigurationError(
            f"there is no version {number} in {self.folder}; there are {listed}"
        )

    def clear(self) -> int:
        """
        Remove every version, and what was set aside of them; return how many there were.

        Raises:
            OSError: The folder cannot be written.
        """
        number = len(self.all())
        (self.folder / _POINTER).unlink(missing_ok=True)  # first: after a crash none is live
        for path in self.folder.glob("model-*"):
            path.unlink(missing_ok=True)
        return number

    # -- files ---------------------------------------------------------------------------

    def _path(self, number: int, suffix: str) -> Path:
        return self.folder / f"model-{number:06}{suffix}"

    def _numbers(self, suffix: str) -> list[int]:
        """Return the numbers in names that end in *suffix*, or of any, ascending."""
        found = set()
        for path in self.folder.glob(f"model-*{suffix}"):
            if match := _NAME.match(path.name):
                found.add(int(match[1]))
        return sorted(found)

    def _version(self, number: int) -> Version | None:
        try:
            facts = Facts(**_read_facts(self._path(number, _FACTS)))
            return Version(number, self._path(number, _MODEL).stat().st_size, facts)
        except (OSError, ValueError, TypeError):
            return None

    def _sound(self, number: int) -> Version:
        """
        Return the version, checked.

        Raises:
            ValueError: It is damaged, or in a form that this code does not know.
            OSError: A file cannot be read.
        """
        told = _read_facts(self._path(number, _FACTS))
        if told.get("format") != FORMAT:
            raise ValueError(f"its format is {told.get('format')!r}, and {FORMAT} is expected")
        raw = self._path(number, _MODEL).read_bytes()
        if hashlib.sha256(raw).hexdigest() != told.get("checksum"):
            raise ValueError("its checksum does not fit: it is damaged")
        return Version(number, len(raw), Facts(**told))

    def _set_aside(self, number: int, error: Exception) -> None:
        logger.warning(
            "model version %d in %s cannot be used (%s): it is set aside as *%s",
            number, self.folder, error, _ASIDE,
        )  # fmt: skip
        for suffix in (_FACTS, _MODEL):
            path = self._path(number, suffix)
            with contextlib.suppress(OSError):  # another process may have done so
                path.rename(path.with_name(path.name + _ASIDE))

    def _point_to(self, number: int) -> None:
        write_whole(self.folder / _POINTER, f"model-{number:06}\n".encode())

    def _drop_old(self, was_live: int | None) -> None:
        """Remove all but the latest versions and the one that was live, whole or not."""
        for number in self._numbers("")[:-NUM_KEPT]:
            if number != was_live:
                for path in self.folder.glob(f"model-{number:06}*"):
                    path.unlink(missing_ok=True)


def write_whole(path: Path, told: bytes) -> None:
    """
    Put *told* into *path* so that after a crash it holds either that or what it held before.

    Raises:
        OSError: It cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        file = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as writing:
            writing.write(told)
            writing.flush()
            os.fsync(writing.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _force_names(path.parent)


def _force_names(folder: Path) -> None:
    """Force the folder's list of names to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _read_facts(path: Path) -> Mapping[str, Any]:
    told = json.loads(path.read_bytes())
    if not isinstance(told, dict):
        raise ValueError("its facts are no JSON object")
    return told
