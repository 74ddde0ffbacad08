"""
The store: examples of applications that have ended, in one SQLite file.

It is bounded three ways: examples in all, examples of a (tenant, type), and types. Where there are
too many, the tenant that holds most gives up its oldest, so that nobody can push out what was
learned of others; and the coldest types of the tenant with most types are merged into `MERGED`.
Examples older than a limit go, too. The bounds are restored now and then, so that there may be
some more meanwhile.

One process writes (or a few), others may read at the same time. A file that is damaged, or not
ours, is set aside beside the new one and named in the log (`database`): what was learned is lost,
serving goes on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import KV_TOKEN_TIME
from .base import Example
from .database import connect, connect_to_read, transaction
from .records import pack, unpack
from .shares import fair_level

logger = logging.getLogger("justitia.server.prediction")

FILE_NAME = "examples.db"
MERGED = ""  # the type that cold types become; no client can name it
_NUM_ADDED_BETWEEN_BOUNDS = 256
_DROP_OLDEST = (
    "DELETE FROM examples WHERE id IN (SELECT id FROM examples WHERE {} ORDER BY id LIMIT ?)"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much a store holds.

    Attributes:
        num_examples: In all.
        num_each: Of one tenant's type.
        num_types: Types of all tenants.
        age_s: Examples are forgotten so many seconds after the end of the application.
    """

    num_examples: int = 50_000
    num_each: int = 5_000
    num_types: int = 1_000
    age_s: float = 90 * 86_400.0


class TypeCount(NamedTuple):
    """How many examples there are of one tenant's type, how many with text, and the newest."""

    tenant: str
    app_type: str
    num_examples: int
    num_with_text: int
    newest_id: int
    last_ended_at: float


class Stored(NamedTuple):
    """An example, and its number: later ones have larger numbers."""

    id: int
    example: Example


class Store:
    """The examples of one folder. Used by one thread."""

    def __init__(
        self, folder: Path, connection: sqlite3.Connection, limits: Limits, *, keep_text: bool
    ) -> None:
        self.folder = folder
        self.num_refused = 0  # examples that could not be packed
        self._connection = connection
        self._limits = limits
        self._keep_text = keep_text
        self._num_added_since = _NUM_ADDED_BETWEEN_BOUNDS

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        now: float,
        unit: str | None = None,
        limits: Limits | None = None,
        keep_text: bool = False,
    ) -> Self:
        """
        Open the store of *folder* to write; make it if need be.

        Args:
            folder: Where `examples.db` is, or will be; only its owner may read it.
            now: Unix seconds, for the name of a damaged file.
            unit: Name of the cost model in which costs are to be; as they are unless told.
            limits: How much it holds.
            keep_text: Keep input texts, too.

        Raises:
            ConfigurationError: Its costs are in another unit.
            OSError: The folder cannot be written.
            sqlite3.Error: The file cannot be used, though it is not damaged.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / FILE_NAME
        connection = connect(path, now=now, unit=unit)
        return cls(folder, connection, limits or Limits(), keep_text=keep_text)

    @classmethod
    def open_to_read(cls, folder: Path) -> Self:
        """
        Open the store of *folder* to read, also while a server writes.

        Raises:
            ConfigurationError: There is none, or it cannot be read.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise ConfigurationError(
                f"there are no examples in {folder}: it has no {FILE_NAME}; name the folder of "
                "`justitia serve --predictor`"
            )
        try:
            connection = connect_to_read(path)
        except sqlite3.Error as error:
            raise ConfigurationError(f"{path} cannot be read: {error}") from error
        return cls(folder, connection, Limits(), keep_text=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def unit(self) -> str:
        """Name of the cost model in which costs are."""
        row = self._connection.execute("SELECT value FROM facts WHERE name = 'unit'").fetchone()
        return str(row[0]) if row else KV_TOKEN_TIME.name

    @property
    def newest_id(self) -> int:
        """Number of the newest example; 0 if there is none."""
        return int(
            self._connection.execute("SELECT coalesce(max(id), 0) FROM examples").fetchone()[0]
        )

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM examples").fetchone()[0])

    def num_after(self, number: int) -> int:
        """Return how many examples are newer than *number*; all, if the store was begun anew."""
        if self.newest_id < number:
            return len(self)
        rows = self._connection.execute("SELECT count(*) FROM examples WHERE id > ?", (number,))
        return int(rows.fetchone()[0])

    def add(self, examples: Iterable[Example], *, now: float) -> int:
        """
        Store *examples*, all or none, and return how many; one that cannot be packed is left out.

        Args:
            examples: In the order of their ends.
            now: Unix seconds; what is too old by then is forgotten.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        rows = list(self._rows(examples))
        with transaction(self._connection):
            self._connection.executemany(
                "INSERT INTO examples (tenant, app_type, ended_at, has_text, body) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            self._num_added_since += len(rows)
            if self._num_added_since >= _NUM_ADDED_BETWEEN_BOUNDS:
                self._restore_bounds(now)
                self._num_added_since = 0
        return len(rows)

    def counts(self) -> list[TypeCount]:
        """Return what there is of every tenant's type, the most first."""
        rows = self._connection.execute(
            "SELECT tenant, app_type, count(*), sum(has_text), max(id), max(ended_at) "
            "FROM examples GROUP BY tenant, app_type ORDER BY count(*) DESC, tenant, app_type"
        )
        return [TypeCount(*row) for row in rows]

    def latest(self, most: int | None = None) -> list[Stored]:
        """
        Return examples, oldest first.

        Args:
            most: So many at most, the latest of every tenant and type: first tenants share, then
                each one's types. All there are if None.
        """
        if most is None:
            return list(self._read("ORDER BY id"))
        chosen: list[Stored] = []
        for app_type, share in _shares(self.counts(), most):
            chosen += self._read(
                "WHERE tenant = ? AND app_type = ? ORDER BY id DESC LIMIT ?",
                app_type.tenant, app_type.app_type, share,
            )  # fmt: skip
        return sorted(chosen, key=lambda stored: stored.id)

    def clear(self) -> int:
        """
        Forget every example, and return how many there were; their bytes are overwritten.

        Raises:
            sqlite3.Error: The file cannot be written.
        """
        with transaction(self._connection):
            number = self._connection.execute("DELETE FROM examples").rowcount
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return number

    # -- bounds --------------------------------------------------------------------------

    def _restore_bounds(self, now: float) -> None:
        oldest = now - self._limits.age_s
        self._connection.execute("DELETE FROM examples WHERE ended_at < ?", (oldest,))
        self._merge_cold_types()
        counts = self.counts()
        for each in counts:
            if (excess := each.num_examples - self._limits.num_each) > 0:
                self._drop_oldest(excess, "tenant = ? AND app_type = ?", each.tenant, each.app_type)
        held: dict[str, int] = defaultdict(int)
        for each in counts:
            held[each.tenant] += min(each.num_examples, self._limits.num_each)
        level = fair_level(held.values(), self._limits.num_examples)
        for tenant, number in held.items():
            if number > level:
                self._drop_oldest(number - level, "tenant = ?", tenant)

    def _drop_oldest(self, number: int, where: str, *told: str) -> None:
        self._connection.execute(_DROP_OLDEST.format(where), (*told, number))

    def _merge_cold_types(self) -> None:
        """Merge, of the tenants with most types, those that ended last the longest ago."""
        types: dict[str, list[TypeCount]] = defaultdict(list)
        for each in self.counts():
            types[each.tenant].append(each)
        level = max(fair_level(map(len, types.values()), self._limits.num_types), 1)
        for tenant, known in types.items():
            if len(known) <= level:
                continue
            named = sorted((each for each in known if each.app_type != MERGED), key=_newest)
            self._connection.executemany(
                "UPDATE examples SET app_type = ? WHERE tenant = ? AND app_type = ?",
                [(MERGED, tenant, each.app_type) for each in named[: len(named) - level + 1]],
            )

    # -- rows ----------------------------------------------------------------------------

    def _rows(self, examples: Iterable[Example]) -> Iterator[tuple[str, str, float, int, bytes]]:
        for example in examples:
            asked = example.question
            has_text = self._keep_text and asked.input_text is not None
            try:
                body = pack(example, keep_text=self._keep_text)
            except ValueError as error:
                self.num_refused += 1
                logger.warning("an example of type %r is not kept: %s", asked.app_type, error)
                continue
            yield asked.tenant, asked.app_type, example.ended_at, int(has_text), body

    def _read(self, which: str, *told: object) -> Iterator[Stored]:
        query = f"SELECT id, tenant, app_type, body FROM examples {which}"
        num_bad = 0
        for number, tenant, app_type, body in self._connection.execute(query, told):
            try:
                example = unpack(body)
            except ValueError:
                num_bad += 1
                continue
            question = replace(example.question, tenant=tenant, app_type=app_type)
            yield Stored(number, replace(example, question=question))
        if num_bad:
            logger.warning(
                "%d examples in %s cannot be read and are left out", num_bad, self.folder
            )


def _newest(each: TypeCount) -> int:
    return each.newest_id


def _shares(counts: Sequence[TypeCount], most: int) -> Iterator[tuple[TypeCount, int]]:
    types: dict[str, list[TypeCount]] = defaultdict(list)
    for each in counts:
        types[each.tenant].append(each)
    held = {tenant: sum(each.num_examples for each in known) for tenant, known in types.items()}
    level = fair_level(held.values(), most)
    for tenant, known in types.items():
        room = min(held[tenant], level)
        share = fair_level([each.num_examples for each in known], room)
        for each in known:
            yield each, min(each.num_examples, share)
