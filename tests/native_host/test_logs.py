"""The log files: their form, their rotation, and a disk that does not take them."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from native_host.config_sections import LogConfig
from native_host.logs import configure_logging, tail

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_has_time_level_process_and_logger(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "daemon.log"
    assert configure_logging(file, LogConfig())
    logging.getLogger("native_host.daemon").info("started")
    logging.getLogger("native_host.daemon").debug("not this")
    (line,) = tail(file, 10)
    assert line.startswith("20")
    assert "INFO" in line
    assert line.endswith("native_host.daemon: started")


def test_no_text_of_a_message_or_an_exception_passes_for_a_record(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    configure_logging(file, LogConfig())
    forged = "\r\n2026-01-01 00:00:00,000 ERROR 1 a: forged\x85\u2028\x1b[2J"
    logging.getLogger("a").info("loaded %s", f"m{forged}")
    try:
        raise ValueError(forged)
    except ValueError:
        logging.getLogger("a").exception("failed\n")
    loaded, failed, *traceback = file.read_text(encoding="utf-8").splitlines()
    assert loaded.endswith(
        rf"INFO {os.getpid()} a: loaded m\r\n2026-01-01 00:00:00,000 ERROR 1 a: forged\x85\u2028\x1b[2J"
    )
    assert failed.endswith("a: failed")
    assert "    Traceback (most recent call last):" in traceback
    assert any("forged" in line for line in traceback)
    assert all(line.startswith("    ") for line in traceback)


def test_a_full_log_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    configure_logging(file, LogConfig(max_bytes=10_000, backups=2))
    for index in range(1000):
        logging.getLogger("a").info("line %d of many", index)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir())


def test_the_tail_reaches_into_the_rotated_file(tmp_path: Path) -> None:
    file = tmp_path / "daemon.log"
    file.with_name("daemon.log.1").write_text("1\n2\n3\n", encoding="utf-8")
    file.write_text("4\n5\n", encoding="utf-8")
    assert tail(file, 1) == ["5"]
    assert tail(file, 4) == ["2", "3", "4", "5"]
    assert tail(tmp_path / "none.log", 3) == []


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert not configure_logging(tmp_path / "file" / "daemon.log", LogConfig(level="ERROR"))
    logging.getLogger("a").info("lost")
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Cannot write the log" in err


_ON_A_FULL_DISK = """
import logging, resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from native_host.config_sections import LogConfig
from native_host.logs import configure_logging

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
configure_logging(Path({file!r}), LogConfig())
for index in range(500):
    logging.getLogger("a").info("line %d", index)
logging.shutdown()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX; no package brings them to Windows")
def test_a_disk_that_fills_up_is_one_warning_and_no_traceback(tmp_path: Path) -> None:
    script = _ON_A_FULL_DISK.format(root=str(ROOT), file=str(tmp_path / "daemon.log"))
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Cannot write the log" in done.stderr
