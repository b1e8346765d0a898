"""A statistics file that is locked, of another version, or lost, under a whole host: generations go on, one warning."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.host_process import BrowserHost
from support.stats_rows import read

from native_host.stats_schema import SCHEMA_VERSION

VERSION_1 = Path(__file__).parent / "data" / "stats_version_1.sqlite3"


@pytest.fixture
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        made.home.data_dir.mkdir()
        yield made


def file_of(host: BrowserHost) -> Path:
    return host.home.data_dir / "stats.sqlite3"


def warnings(host: BrowserHost) -> list[str]:
    return [line for line in host.log.splitlines() if "WARNING" in line or "ERROR" in line]


def generate(host: BrowserHost, count: int) -> int:
    """Have words echoed `count` times; how many generations the host then tells of."""
    with host.port() as port:
        assert port.call("load", model="echo")["status"] == "success"
        for _ in range(count):
            assert port.call("generate", prompt="a b c")["text"] == "a b c"
        told: int = port.call("get_stats")["aggregate"]["count"]
    return told


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_a_locked_file_costs_one_warning_and_gets_the_figures_when_it_is_free(host: BrowserHost) -> None:
    assert generate(host, 1) == 1
    with locked(file_of(host)):
        assert generate(host, 2) == 3
        assert generate(host, 1) == 4
    host.stop_daemon()
    assert [record.output_tokens for record in read(file_of(host))] == [3, 3, 3, 3]
    (warning,) = warnings(host)
    assert "locked" in warning


def test_a_file_that_is_removed_under_the_host_stops_nothing(host: BrowserHost) -> None:
    assert generate(host, 1) == 1
    for file in host.home.data_dir.glob("stats.sqlite3*"):
        file.unlink()
    assert generate(host, 2) == 3
    host.stop_daemon()
    assert generate(host, 1) >= 1


def test_a_file_of_version_1_is_served_whole(host: BrowserHost) -> None:
    shutil.copy(VERSION_1, file_of(host))
    with host.port("cli") as port:
        assert port.call("get_stats")["aggregate"]["count"] == 40
    host.stop_daemon()
    assert len(read(file_of(host))) == 40
    assert warnings(host) == []


def test_a_file_of_a_newer_host_is_left_alone_with_one_warning(host: BrowserHost) -> None:
    shutil.copy(VERSION_1, file_of(host))
    with closing(sqlite3.connect(file_of(host))) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    content = file_of(host).read_bytes()
    assert generate(host, 2) == 2
    host.stop_daemon()
    assert file_of(host).read_bytes() == content
    (warning,) = warnings(host)
    assert "newer version" in warning


@pytest.mark.parametrize("table", ["generations (x)", "urls (url)", "memory (address)"])
def test_another_programs_file_is_left_alone_with_one_warning(host: BrowserHost, table: str) -> None:
    with closing(sqlite3.connect(file_of(host))) as other:
        other.execute(f"CREATE TABLE {table}")
    content = file_of(host).read_bytes()
    told = host.home.run("stats")
    assert (told.returncode, "another program made it" in told.stderr) == (1, True)
    assert "Move the file away" in host.home.run("doctor").stdout
    assert generate(host, 2) == 2
    host.stop_daemon()
    assert file_of(host).read_bytes() == content
    (warning,) = warnings(host)
    assert "another program made it" in warning
