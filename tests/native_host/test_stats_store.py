"""The statistics on real files: kept across restarts, and never in the way when the disk is."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.stats_rows import read, row

from messages.errors import ErrorCode, HostError
from native_host import stats_store
from native_host.performance import PerformanceTracker
from native_host.stats_database import RETRY_S, Database
from native_host.stats_rows import GenerationRecord
from native_host.stats_schema import check_file
from native_host.stats_store import QUEUE_LIMIT, StatsStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "stats.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[StatsStore]:
    store = StatsStore(path)
    yield store
    store.close()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_what_was_just_recorded_is_in_the_next_answer(store: StatsStore) -> None:
    for rate in (10.0, 20.0, 30.0):
        store.record(row(rate=rate))
    aggregate = store.aggregate()
    assert (aggregate.count, aggregate.succeeded, aggregate.input_tokens) == (3, 3, 30)
    assert (aggregate.output_tokens, aggregate.cached_tokens, aggregate.total_time) == (60, 15, 1500.0)
    assert aggregate.tokens_per_second.p50 == 20.0


def test_answers_are_per_backend_model_and_origin(store: StatsStore) -> None:
    store.record(row(backend="ECHO", model="a", origin="x"))
    store.record(row(backend="ECHO", model="b", origin="y"))
    store.record(row(backend="ONNX_CPU", model="b", origin="y"))
    assert store.aggregate(model="b").count == 2
    assert store.aggregate(backend="ECHO", origin="y").count == 1
    assert {name: found.count for name, found in store.by_backend().items()} == {"ECHO": 2, "ONNX_CPU": 1}
    assert set(store.by_backend(origin="x")) == {"ECHO"}


def test_a_question_that_takes_too_long_is_told_to_come_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats_store, "ANSWER_TIMEOUT_S", 0.05)
    opened = threading.Event()
    monkeypatch.setattr(stats_store, "Database", lambda path: opened.wait(10) and Database(path))
    store = StatsStore(path)
    with pytest.raises(HostError) as told:
        store.aggregate()
    assert (told.value.code, "retry_after_ms" in told.value.details) == (ErrorCode.BUSY, True)
    opened.set()
    store.close()


def test_nothing_recorded_is_zeroes_and_unknowns(store: StatsStore) -> None:
    assert store.aggregate().count == 0
    assert store.aggregate().tokens_per_second.p50 is None
    assert store.by_backend() == {}


def test_figures_are_there_after_a_restart(path: Path) -> None:
    first = StatsStore(path)
    first.record(row())
    first.close()
    second = StatsStore(path)
    assert second.aggregate().count == 1
    second.close()


def test_rows_older_than_the_retention_go(path: Path) -> None:
    store = StatsStore(path, retention_days=2)
    store.record(row())
    store.record(row(age_s=3 * 86_400))
    store.close()
    reopened = StatsStore(path, retention_days=2)
    assert reopened.aggregate().count == 1
    reopened.close()


def test_a_generation_of_the_tracker_becomes_a_row(store: StatsStore) -> None:
    tracker = PerformanceTracker(
        on_complete=lambda metrics: store.record(
            GenerationRecord.of(metrics, origin="cli", backend="ECHO", model="echo")
        )
    )
    tracker.start_generation(3)
    tracker.increment_output_tokens(2)
    tracker.complete_generation(outcome="cancelled")
    aggregate = store.aggregate()
    assert (aggregate.cancelled, aggregate.input_tokens, aggregate.output_tokens) == (1, 3, 2)


def test_a_corrupt_file_is_moved_aside_with_one_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    store = StatsStore(path)
    store.record(row())
    assert store.aggregate().count == 1
    store.close()
    assert [file.read_bytes()[:7] for file in path.parent.glob("*.corrupt-*")] == [b"this is"]
    assert len(warnings(caplog)) == 1
    assert "corrupt" in warnings(caplog)[0]
    check_file(path)


def test_a_file_with_a_damaged_page_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = StatsStore(path)
    for _ in range(2000):
        store.record(row())
    store.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 : 4096 * 9] = b"\xff" * 4096 * 6
    path.write_bytes(damaged)
    with pytest.raises(sqlite3.Error):
        check_file(path)
    reopened = StatsStore(path)
    assert reopened.aggregate().count == 0
    reopened.close()
    assert len(warnings(caplog)) == 1


def test_a_folder_that_cannot_be_made_leaves_the_figures_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = StatsStore(tmp_path / "file" / "stats.sqlite3")
    store.record(row())
    assert store.aggregate().count == 1
    store.close()
    assert len(warnings(caplog)) == 1
    assert "in memory" in warnings(caplog)[0]


def test_a_path_that_is_a_folder_leaves_the_figures_in_memory(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.mkdir(parents=True)
    store = StatsStore(path)
    store.record(row())
    assert store.aggregate().count == 1
    store.close()
    assert len(warnings(caplog)) == 1


def test_a_file_locked_at_the_start_leaves_the_figures_in_memory(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store = StatsStore(path)
        store.record(row())
        assert store.aggregate().count == 1
        store.close()
    assert len(warnings(caplog)) == 1


def test_a_file_locked_later_keeps_the_figures_of_this_run(
    store: StatsStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.record(row())
    assert store.aggregate().count == 1
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(row())
        store.record(row())
        assert store.aggregate().count == 3
    assert len(warnings(caplog)) == 1


_ON_A_FULL_DISK = """
import logging, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from native_host.stats_rows import GenerationRecord
from native_host.stats_store import StatsStore

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
store = StatsStore(Path({path!r}))
for batch in range(20):
    for _ in range(200):
        store.record(GenerationRecord(1e10, "cli", "ECHO", "echo", "success", output_tokens=1))
    store.aggregate()
print(store.aggregate().count)
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX; no package brings them to Windows")
def test_a_disk_that_fills_up_keeps_the_figures_of_this_run_with_one_warning(path: Path) -> None:
    script = _ON_A_FULL_DISK.format(root=str(ROOT), path=str(path))
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert lines[-1] == "4000"
    assert [line.split()[0] for line in lines[:-1]] == ["WARNING"]
    assert "Traceback" not in done.stdout + done.stderr


def test_recording_never_blocks_even_when_nothing_is_written(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        store = StatsStore(path)
        begin = time.monotonic()
        for _ in range(QUEUE_LIMIT + 500):
            store.record(row())
        assert time.monotonic() - begin < 1.5
        store.close()
    assert any("too slowly" in message for message in warnings(caplog))


def test_closing_twice_is_harmless_and_a_question_then_is_refused(path: Path) -> None:
    store = StatsStore(path)
    store.close()
    store.close()
    with pytest.raises(RuntimeError):
        store.aggregate()


def test_no_path_means_memory_only() -> None:
    store = StatsStore(None)
    store.record(row())
    assert store.aggregate().count == 1
    store.close()


def test_figures_of_a_disk_that_failed_are_written_once_it_can_be_used(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    with closing(Database(path, clock=lambda: now)) as database:
        database.insert([row(model="before")])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            database.insert([row(model="meanwhile")])
        database.insert([row(model="too soon to try")])
        now = RETRY_S
        database.insert([row(model="after")])
    assert [record.model for record in read(path)] == ["before", "meanwhile", "too soon to try", "after"]
    assert len(warnings(caplog)) == 1


def test_figures_of_a_disk_that_failed_are_written_at_the_end_if_that_goes(path: Path) -> None:
    store = StatsStore(path)
    store.aggregate()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(row(model="meanwhile"))
        assert store.aggregate().count == 1
    store.close()
    assert [record.model for record in read(path)] == ["meanwhile"]


def test_rows_of_many_statements_are_all_written(path: Path) -> None:
    rows = [row(rate=float(number)) for number in range(1234)]
    with closing(Database(path)) as database:
        database.insert(rows)
    assert read(path) == rows
