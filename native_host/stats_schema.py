"""The statistics' SQLite file itself: its tables, its older versions, whether it is sound, and opening it to read.

Above it: `native_host.stats_database`, which writes, and the terminal, which reads while a daemon may write.

Source: SQLite's result codes, https://www.sqlite.org/rescode.html
"""

import logging
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from native_host.stats_rows import GENERATION_COLUMNS, MEMORY_COLUMNS

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 2
"""1: generations. 2: their queue time and peak memory, and memory over time."""

BUSY_TIMEOUT_S = 2.0
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_GENERATIONS = """
CREATE TABLE IF NOT EXISTS generations (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL, origin TEXT NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT NOT NULL,
    finish_reason TEXT, input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
    time_to_first_token REAL, tokens_per_second REAL, total_time REAL, queue_time REAL, peak_memory INTEGER
)"""

_ADDED_COLUMNS = {"queue_time": "REAL", "peak_memory": "INTEGER"}
"""Columns of generations that version 1 did not have."""

_MEMORY = """
CREATE {temporary} TABLE IF NOT EXISTS memory (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL, backend TEXT NOT NULL, model TEXT NOT NULL, resident_bytes INTEGER NOT NULL
)"""

_COLUMNS_OF_EVERY_VERSION = {
    "generations": {"id", *GENERATION_COLUMNS} - _ADDED_COLUMNS.keys(),
    "memory": {"id", *MEMORY_COLUMNS},
}

_INDEXES = (
    "CREATE INDEX IF NOT EXISTS generations_time ON generations (time)",
    "CREATE INDEX IF NOT EXISTS memory_time ON memory (time)",
)


class NewerSchemaError(sqlite3.DatabaseError):
    """A newer version of the host made the file, and this one must not write to it."""


class ForeignSchemaError(sqlite3.DatabaseError):
    """A program other than the host made the file, and its tables are its own."""


def connect(path: Path | None) -> sqlite3.Connection:
    """Open a file to write, or memory for None, and bring its tables up to `SCHEMA_VERSION`; sqlite3.Error."""
    connection = sqlite3.connect(path or ":memory:", timeout=BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    try:
        _require_no_newer(_version(connection))
        _require_own(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        _migrate(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_checked(path: Path) -> sqlite3.Connection:
    """Open a file that must be sound, its folder made if need be; a corrupt one is moved aside for a new one.

    Raises sqlite3.Error or OSError if the disk cannot be used.
    """
    try:
        return _connect_sound(path)
    except sqlite3.Error as error:
        if not is_corrupt(error):
            raise
    aside = _move_aside(path)
    logger.warning("The statistics were corrupt; they are now in %s, and new ones begin.", aside)
    return _connect_sound(path)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a sound file for questions alone, whatever its version; it is not changed. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    connection.row_factory = sqlite3.Row
    try:
        _require_sound(connection)
        if _version(connection) <= SCHEMA_VERSION:  # a newer host may have more tables
            _require_own(connection)
        _add_what_is_missing_to_this_connection(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def check_file(path: Path) -> None:
    """Raise sqlite3.Error if a file is corrupt, of a newer version, foreign or cannot be read; it is not changed."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
        _require_sound(connection)
        _require_no_newer(_version(connection))
        _require_own(connection)


def is_corrupt(error: Exception) -> bool:
    """Whether an error says that the file is not a sound SQLite file (and not that it cannot be reached)."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _CORRUPT


def _migrate(connection: sqlite3.Connection) -> None:
    """Make or add what this version has, in one transaction: a file that cannot be written stays as it was."""
    if _version(connection) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute(_GENERATIONS)
        for name in _missing_columns(connection):
            connection.execute(f"ALTER TABLE generations ADD COLUMN {name} {_ADDED_COLUMNS[name]}")
        connection.execute(_MEMORY.format(temporary=""))
        for index in _INDEXES:
            connection.execute(index)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _require_no_newer(version: int) -> None:
    if version > SCHEMA_VERSION:
        raise NewerSchemaError("a newer version of the host made it")


def _require_own(connection: sqlite3.Connection) -> None:
    """A table that no version of the host had, or that lacks what each had, is another program's; no tables are new."""
    for table in _tables(connection):
        required = _COLUMNS_OF_EVERY_VERSION.get(table)
        if required is None or not required <= _columns(connection, table):
            raise ForeignSchemaError("another program made it")


def _add_what_is_missing_to_this_connection(connection: sqlite3.Connection) -> None:
    """Stand-ins for what an older file lacks, in temporary objects, which hide the file's own of the same name."""
    if _version(connection) >= SCHEMA_VERSION:
        return
    if _columns(connection, "generations"):
        missing = "".join(f", NULL AS {name}" for name in _missing_columns(connection))
        connection.execute(f"CREATE TEMP VIEW generations AS SELECT *{missing} FROM main.generations")
    else:
        connection.execute(_GENERATIONS.replace("CREATE", "CREATE TEMP", 1))
    connection.execute(_MEMORY.format(temporary="TEMP"))


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _tables(connection: sqlite3.Connection) -> list[str]:
    names = connection.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")
    return [name for (name,) in names if not name.startswith("sqlite_")]


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?, 'main')", [table])}


def _missing_columns(connection: sqlite3.Connection) -> list[str]:
    there = _columns(connection, "generations")
    return [name for name in GENERATION_COLUMNS if name not in there]


def _connect_sound(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(path)
    try:
        _require_sound(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _require_sound(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(" ".join(verdict.split()))  # SQLite has put a line break into it
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside
