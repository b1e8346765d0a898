"""The statistics' file while a daemon writes it, and what happens when it is corrupt, full, read-only or locked.

Above it: `native_host.stats_store`, whose one thread owns a `Database`. A corrupt file is moved aside and begun anew.
Where the disk cannot be used, this run's figures go on in memory, and are written once the disk can be used again;
either is one warning. Nothing here raises for it.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from native_host.stats_rows import GENERATION_COLUMNS, MEMORY_COLUMNS, GenerationRecord, StatsRow
from native_host.stats_schema import connect, connect_checked

logger = logging.getLogger(__name__)

KEPT_AT_HAND = 10_000
"""Rows of this run that are kept at hand in case the disk fails: the newest ones."""

RETRY_S = 60.0
"""How long after a failure of the disk it is tried again, in seconds."""

_ROWS_A_STATEMENT = 50
"""Rows of one INSERT. It runs without Python's lock, which a token would otherwise wait for row by row."""

_T = TypeVar("_T")

_generation_values = attrgetter(*GENERATION_COLUMNS)
_memory_values = attrgetter(*MEMORY_COLUMNS)


class Database:
    """The tables, on disk as long as that goes. For one thread."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._this_run: deque[StatsRow] = deque(maxlen=KEPT_AT_HAND)
        self._unwritten: deque[StatsRow] = deque(maxlen=KEPT_AT_HAND)
        self._retry_at: float | None = None
        self._connection = self._open()

    def insert(self, rows: Sequence[StatsRow]) -> None:
        """Add rows in one transaction."""
        self._try_the_disk_again()
        try:
            _insert(self._connection, rows)
        except sqlite3.Error as error:
            self._recover(error)
            _insert(self._connection, rows)
        self._this_run.extend(rows)
        if self._retry_at is not None:
            self._unwritten.extend(rows)

    def purge(self, before: float) -> None:
        """Remove what is older than a time, in seconds since the epoch."""
        try:
            _purge(self._connection, before)
        except sqlite3.Error as error:
            self._recover(error)

    def ask(self, question: Callable[[sqlite3.Connection], _T]) -> _T:
        """Answer a question of `native_host.stats_queries`; from this run alone while the file cannot be used."""
        try:
            return question(self._connection)
        except sqlite3.Error as error:
            self._recover(error)
            return question(self._connection)

    def close(self) -> None:
        """Write what the disk has not got yet, if it takes it now, and close the file."""
        if self._unwritten:
            self._retry_at = self._clock()
            self._try_the_disk_again()
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._path is None:
            return connect(None)
        try:
            return connect_checked(self._path)
        except (sqlite3.Error, OSError) as error:
            self._note_failure(self._path, error)
            return connect(None)

    def _recover(self, error: sqlite3.Error) -> None:
        """After a failure of the file: go on in memory, with this run's rows."""
        assert self._path is not None
        self._connection.close()
        self._connection = connect(None)
        _insert(self._connection, self._this_run)
        self._note_failure(self._path, error)

    def _note_failure(self, path: Path, error: Exception) -> None:
        self._retry_at = self._clock() + RETRY_S
        logger.warning(
            "The statistics cannot be kept in %s: %s. They go on in memory, and are written once that is mended: "
            "free disk space, make the folder writable, or close the program that has the file open.",
            path,
            error,
        )

    def _try_the_disk_again(self) -> None:
        if self._path is None or self._retry_at is None or self._clock() < self._retry_at:
            return
        self._retry_at = self._clock() + RETRY_S
        try:
            connection = connect_checked(self._path)
        except (sqlite3.Error, OSError) as error:
            logger.debug("the statistics still cannot be kept in %s: %s", self._path, error)
            return
        try:
            _insert(connection, self._unwritten)
        except sqlite3.Error as error:
            logger.debug("the statistics still cannot be written to %s: %s", self._path, error)
            connection.close()
            return
        self._connection.close()
        self._connection, self._retry_at = connection, None
        logger.info("The statistics are kept in %s again; %d rows were written.", self._path, len(self._unwritten))
        self._unwritten.clear()


def _insert(connection: sqlite3.Connection, rows: Iterable[StatsRow]) -> None:
    generations: list[tuple[object, ...]] = []
    samples: list[tuple[object, ...]] = []
    for row in rows:
        if isinstance(row, GenerationRecord):
            generations.append(_generation_values(row))
        else:
            samples.append(_memory_values(row))
    with connection:
        _insert_into(connection, "generations", GENERATION_COLUMNS, generations)
        _insert_into(connection, "memory", MEMORY_COLUMNS, samples)


def _insert_into(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    places = f"({', '.join('?' for _ in columns)})"
    for start in range(0, len(rows), _ROWS_A_STATEMENT):
        part = rows[start : start + _ROWS_A_STATEMENT]
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([places] * len(part))}"
        connection.execute(statement, tuple(chain.from_iterable(part)))


def _purge(connection: sqlite3.Connection, before: float) -> None:
    with connection:
        connection.execute("DELETE FROM generations WHERE time < ?", [before])
        connection.execute("DELETE FROM memory WHERE time < ?", [before])
