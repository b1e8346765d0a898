"""The statistics' file over versions: one that version 1 wrote loses nothing, one of a newer host is left alone."""

import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

import pytest
from support.stats_rows import read, row

from native_host import stats_queries
from native_host.stats_rows import GENERATION_COLUMNS, Filter, MemorySample
from native_host.stats_schema import SCHEMA_VERSION, ForeignSchemaError, check_file, open_to_read
from native_host.stats_store import StatsStore

VERSION_1_COLUMNS = GENERATION_COLUMNS[:12]


OTHER_PROGRAMS = {
    "tables of other names": "CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT)",
    "other generations": "CREATE TABLE generations (x)",
    "another memory": "CREATE TABLE memory (address INTEGER, value BLOB)",
    "generations beside another's": f"CREATE TABLE generations (id, {', '.join(GENERATION_COLUMNS)});"
    "CREATE TABLE urls (url TEXT)",
    "generations beside another memory": f"CREATE TABLE generations (id, {', '.join(GENERATION_COLUMNS)});"
    "CREATE TABLE memory (address INTEGER, value BLOB)",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "stats.sqlite3"


def copy_version_1(path: Path) -> list[tuple[object, ...]]:
    """A file that a host of version 1 wrote, and its rows."""
    path.parent.mkdir()
    shutil.copy(Path(__file__).parent / "data" / "stats_version_1.sqlite3", path)
    assert version_of(path) == 1
    found = rows_of(path, VERSION_1_COLUMNS)
    assert len(found) == 40
    return found


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def rows_of(path: Path, columns: Sequence[str]) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {', '.join(columns)} FROM generations ORDER BY id").fetchall()


def test_a_file_of_version_1_gains_columns_and_loses_nothing(path: Path) -> None:
    before = copy_version_1(path)
    store = StatsStore(path)
    store.record(row())
    assert store.aggregate().count == len(before) + 1
    store.close()
    after = [tuple(record) for record in rows_of(path, VERSION_1_COLUMNS)]
    assert after[:-1] == before
    assert (read(path)[0].queue_time, read(path)[0].peak_memory) == (None, None)
    assert version_of(path) == SCHEMA_VERSION


def test_a_file_of_version_1_can_be_read_without_changing_it(path: Path) -> None:
    before = copy_version_1(path)
    content = path.read_bytes()
    assert [astuple(record)[: len(VERSION_1_COLUMNS)] for record in read(path)] == before
    with closing(open_to_read(path)) as connection:
        assert stats_queries.memory(connection, Filter(), parts=3) == {}
    assert path.read_bytes() == content


def test_an_old_host_that_ran_in_between_does_no_harm(path: Path) -> None:
    StatsStore(path).close()
    with closing(sqlite3.connect(path)) as old:
        old.execute("PRAGMA user_version = 1")
    store = StatsStore(path)
    store.record(row())
    store.close()
    assert (len(read(path)), version_of(path)) == (1, SCHEMA_VERSION)


def test_a_file_of_a_newer_version_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy_version_1(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content = path.read_bytes()
    store = StatsStore(path)
    store.record(row())
    assert store.aggregate().count == 1
    store.close()
    assert path.read_bytes() == content
    assert ["newer version" in record.getMessage() for record in caplog.records] == [True]


def test_a_migration_that_cannot_be_written_leaves_the_file_as_it_was(path: Path) -> None:
    copy_version_1(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store = StatsStore(path)
        store.record(row())
        assert store.aggregate().count == 1
        assert version_of(path) == 1
    store.close()
    assert (len(read(path)), version_of(path)) == (41, SCHEMA_VERSION)


def test_an_empty_file_is_read_as_no_generations(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    assert read(path) == []


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
@pytest.mark.parametrize("tables", OTHER_PROGRAMS.values(), ids=OTHER_PROGRAMS)
def test_another_programs_file_is_left_alone(
    path: Path, tables: str, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(f"{tables}; PRAGMA user_version = {version}")
    content = path.read_bytes()
    for look in (check_file, open_to_read):
        with pytest.raises(ForeignSchemaError):
            look(path)
    store = StatsStore(path)
    store.record(row())
    store.record(MemorySample(time.time(), "ECHO", "echo", 300))
    assert store.aggregate().count == 1
    store.close()
    assert path.read_bytes() == content
    assert ["another program made it" in record.getMessage() for record in caplog.records] == [True]


def make_own(path: Path, version: int, extra: str = "") -> None:
    """A file of this host's in one of its versions, 0 for an empty one, and what an owner has added to it."""
    if version == 0:
        path.parent.mkdir()
        path.touch()
    elif version == 1:
        copy_version_1(path)
    else:
        StatsStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(extra)
    assert version_of(path) == version


@pytest.mark.parametrize("version", range(SCHEMA_VERSION + 1))
def test_a_file_of_every_version_is_the_hosts(path: Path, version: int) -> None:
    make_own(path, version)
    check_file(path)
    before = read(path)
    store = StatsStore(path)
    store.record(row())
    store.record(MemorySample(time.time(), "ECHO", "echo", 300))
    store.close()
    assert (len(read(path)), version_of(path)) == (len(before) + 1, SCHEMA_VERSION)
    with closing(open_to_read(path)) as connection:
        assert list(stats_queries.memory(connection, Filter(), parts=3)) == ["echo"]


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_indexes_views_and_sqlites_own_tables_make_no_file_another_programs(path: Path, version: int) -> None:
    extra = "CREATE INDEX by_model ON generations (model); CREATE VIEW models AS SELECT model FROM generations; ANALYZE"
    make_own(path, version, extra)
    before = read(path)
    store = StatsStore(path)
    store.record(row())
    store.close()
    assert len(read(path)) == len(before) + 1


def test_a_file_of_a_newer_version_with_another_table_is_read_all_the_same(path: Path) -> None:
    newer = f"CREATE TABLE batteries (time REAL); PRAGMA user_version = {SCHEMA_VERSION + 1}"
    StatsStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(newer)
    assert read(path) == []
