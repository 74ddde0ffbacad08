"""
The database file of the store: opened with our tables, or set aside where it is damaged.

Write-ahead log, so that others read while one writes, and a process that is killed leaves a file in
order. Only the owner may read it.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from justitia_sdk.errors import ConfigurationError

from ..fairness.cost import KV_TOKEN_TIME

logger = logging.getLogger("justitia.server.prediction")

SCHEMA = 1
_BUSY_S = 5.0
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE IF NOT EXISTS examples (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, app_type TEXT NOT NULL,
    ended_at REAL NOT NULL, has_text INTEGER NOT NULL, body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_type ON examples (tenant, app_type, id);
CREATE INDEX IF NOT EXISTS by_end ON examples (ended_at);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether *error* says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGED  # the rest of the code is detail


def connect(path: Path, *, now: float, unit: str | None) -> sqlite3.Connection:
    """
    Return a connection to a sound file with our tables; one that is damaged is set aside.

    Args:
        path: The file, made if need be.
        now: Unix seconds, for the name of a damaged file.
        unit: Name of the cost model in which costs are to be; as they are if None.

    Raises:
        ConfigurationError: Its costs are in another unit.
        sqlite3.Error: It cannot be used, though it is not damaged.
    """
    for is_second_try in (False, True):
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, _BUSY_S, isolation_level=None)
        try:
            _check(connection)
            _check_pages(connection)
            _prepare(connection, unit)
            return connection
        except sqlite3.Error as error:
            connection.close()
            if is_second_try or not is_damage(error):
                raise
            set_aside(path, now, str(error))
        except BaseException:
            connection.close()
            raise
    raise AssertionError("the second try returns or raises")


def connect_to_read(path: Path) -> sqlite3.Connection:
    """
    Return a connection that changes nothing.

    Raises:
        sqlite3.Error: The file is damaged, not ours, or cannot be read.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", _BUSY_S, uri=True)
    try:
        _check(connection)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection) -> None:
    """Raise `sqlite3.DatabaseError`, as of damage, where the file is none that we can use."""
    # In this order: another process may be putting tables and version into a new file.
    (num_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA and (version or num_tables):
        raise _damage(f"its form is {version}, and {SCHEMA} is expected")


def _check_pages(connection: sqlite3.Connection) -> None:
    """Read the whole file; raise as `_check` does where it is damaged anywhere."""
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise _damage(said)


def _damage(said: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(said)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _prepare(connection: sqlite3.Connection, unit: str | None) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    with transaction(connection):
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute(
            "INSERT OR IGNORE INTO facts VALUES ('unit', ?)", (unit or KV_TOKEN_TIME.name,)
        )
    (found,) = connection.execute("SELECT value FROM facts WHERE name = 'unit'").fetchone()
    if unit is not None and found != unit:
        raise ConfigurationError(
            f"the examples' costs are in {found}, and this server's in {unit}: "
            "give --predictor another folder"
        )


def set_aside(path: Path, now: float, reason: str) -> Path:
    """Rename *path*, and what SQLite keeps beside it, so that it is out of the way; log it."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(target.with_name(target.name + suffix))
    logger.warning(
        "%s cannot be used (%s): it is now %s, and begun anew", path, reason, target.name
    )
    return target


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block as one transaction: all of it, or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have done so itself
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
