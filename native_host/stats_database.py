"""The statistics' SQLite file, and what happens when it is corrupt, full, read-only or locked.

Above it: `native_host.stats_store`, whose one thread owns a `Database`. A corrupt file is moved aside and begun anew.
Where the disk cannot be used, this run's figures go on in memory; either is one warning. Nothing here raises for it.

Source: SQLite's result codes, https://www.sqlite.org/rescode.html
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

from messages.facts import Aggregate
from native_host.performance import GenerationMetrics, percentiles

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
NEWEST = 10_000
"""Rows that percentiles are taken over, and rows of this run that are kept at hand in case the disk fails."""

_BUSY_TIMEOUT_S = 2.0
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_T = TypeVar("_T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL, origin TEXT NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
    finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
    time_to_first_token REAL, tokens_per_second REAL, total_time REAL
);
CREATE INDEX IF NOT EXISTS generations_time ON generations (time);
"""

_SUMS = """
SELECT count(*) AS count,
    coalesce(sum(outcome = 'success'), 0) AS succeeded, coalesce(sum(outcome = 'error'), 0) AS failed,
    coalesce(sum(outcome = 'cancelled'), 0) AS cancelled, coalesce(sum(input_tokens), 0) AS input_tokens,
    coalesce(sum(output_tokens), 0) AS output_tokens, coalesce(sum(cached_tokens), 0) AS cached_tokens,
    coalesce(total(total_time), 0.0) AS total_time
FROM generations
"""


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One row: time is seconds since the epoch, backend a BackendType's name; figures as in `messages.facts`."""

    time: float
    origin: str
    backend: str
    model: str
    outcome: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    total_time: float | None = None

    @classmethod
    def of(cls, metrics: GenerationMetrics, *, origin: str, backend: str, model: str) -> "GenerationRecord":
        """The row of a generation that has ended now."""
        return cls(
            time=time.time(),
            origin=origin,
            backend=backend,
            model=model,
            outcome=metrics.outcome or "error",
            finish_reason=metrics.finish_reason,
            input_tokens=metrics.input_tokens,
            output_tokens=metrics.output_tokens,
            cached_tokens=metrics.cached_tokens,
            time_to_first_token=metrics.time_to_first_token,
            tokens_per_second=metrics.tokens_per_second,
            total_time=metrics.total_time,
        )


_COLUMNS = [field.name for field in fields(GenerationRecord)]
_INSERT = f"INSERT INTO generations ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)})"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: those that equal every value that is not None."""

    backend: str | None = None
    model: str | None = None
    origin: str | None = None

    @property
    def sql(self) -> str:
        """The WHERE clause, or nothing."""
        names = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return " WHERE " + " AND ".join(f"{name} = ?" for name in names) if names else ""

    @property
    def values(self) -> list[str]:
        """The clause's parameters."""
        return [value for value in (self.backend, self.model, self.origin) if value is not None]


class Database:
    """The table of generations, on disk as long as that goes. For one thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._this_run: deque[GenerationRecord] = deque(maxlen=NEWEST)
        self._connection = self._open()

    def insert(self, rows: Sequence[GenerationRecord]) -> None:
        """Add rows in one transaction."""
        try:
            _insert(self._connection, rows)
        except sqlite3.Error as error:
            self._recover(error)
            _insert(self._connection, rows)
        self._this_run.extend(rows)

    def purge(self, before: float) -> None:
        """Remove what is older than a time, in seconds since the epoch."""
        try:
            _purge(self._connection, before)
        except sqlite3.Error as error:
            self._recover(error)

    def aggregate(self, wanted: Filter) -> Aggregate:
        """Counts and sums over all rows that match, percentiles over the newest `NEWEST` of them."""
        return self._read(lambda connection: _aggregate(connection, wanted))

    def by_backend(self, wanted: Filter) -> dict[str, Aggregate]:
        """The same for each backend that has rows."""
        return self._read(lambda connection: dict(_by_backend(connection, wanted)))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            return _connect(None)
        try:
            return _connect_or_begin_anew(self._path)
        except (sqlite3.Error, OSError) as error:
            _warn(self._path, error)
            return _connect(None)

    def _read(self, question: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            return question(self._connection)
        except sqlite3.Error as error:
            self._recover(error)
            return question(self._connection)

    def _recover(self, error: sqlite3.Error) -> None:
        """After a failure of the file: go on in memory, with this run's rows; the next start sees to the file."""
        assert self._path is not None
        self._connection.close()
        self._connection = _connect(None)
        _insert(self._connection, self._this_run)
        _warn(self._path, error)


def is_corrupt(error: Exception) -> bool:
    """Whether an error says that the file is not a sound SQLite file (and not that it cannot be reached)."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT


def check_file(path: Path) -> None:
    """Raise sqlite3.Error if a statistics file is corrupt or cannot be read; it is not changed."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as connection:
        _require_sound(connection)


def _warn(path: Path, error: Exception) -> None:
    logger.warning(
        "The statistics cannot be kept in %s: %s. They go on in memory until the daemon leaves; "
        "free disk space or make the folder writable.",
        path,
        error,
    )


def _connect_or_begin_anew(path: Path) -> sqlite3.Connection:
    try:
        return _connect_checked(path)
    except sqlite3.Error as error:
        if not is_corrupt(error):
            raise
    aside = _move_aside(path)
    logger.warning("The statistics were corrupt; they are now in %s, and new ones begin.", aside)
    return _connect_checked(path)


def _connect_checked(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path)
    try:
        _require_sound(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect(path: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(path or ":memory:", timeout=_BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def _insert(connection: sqlite3.Connection, rows: Iterable[GenerationRecord]) -> None:
    with connection:
        connection.executemany(_INSERT, [astuple(row) for row in rows])


def _purge(connection: sqlite3.Connection, before: float) -> None:
    with connection:
        connection.execute("DELETE FROM generations WHERE time < ?", [before])


def _aggregate(connection: sqlite3.Connection, wanted: Filter) -> Aggregate:
    sums = connection.execute(_SUMS + wanted.sql, wanted.values).fetchone()
    newest = connection.execute(
        f"SELECT time_to_first_token, tokens_per_second FROM generations{wanted.sql} ORDER BY id DESC LIMIT {NEWEST}",
        wanted.values,
    ).fetchall()
    return Aggregate(
        **dict(sums),
        time_to_first_token=percentiles([row[0] for row in newest if row[0] is not None]),
        tokens_per_second=percentiles([row[1] for row in newest if row[1] is not None]),
    )


def _by_backend(connection: sqlite3.Connection, wanted: Filter) -> Iterator[tuple[str, Aggregate]]:
    names = connection.execute(f"SELECT DISTINCT backend FROM generations{wanted.sql}", wanted.values).fetchall()
    for (name,) in names:
        yield name, _aggregate(connection, Filter(backend=name, model=wanted.model, origin=wanted.origin))
