"""Files of this user alone: whole or not at all, and nothing left where the disk is full."""

import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from native_host.private_file import remove, write_private

ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from native_host.private_file import write_private
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
write_private(Path(sys.argv[1]), "text")
"""
"""No file of its process can grow, as on a full disk: the error is another, and the same in kind."""


def test_a_file_is_written_for_this_user_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "text")
    assert (tmp_path / "secret").read_text() == "text"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path / "secret")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [lambda file: write_private(file, "new"), remove], ids=["write", "remove"])
def test_somebody_who_reads_it_for_a_moment_keeps_nobody_from_changing_it(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    file = tmp_path / "secret"
    write_private(file, "old")
    opened = threading.Event()

    def read() -> None:
        with file.open() as reader:
            opened.set()
            time.sleep(0.2)
            reader.read()

    thread = threading.Thread(target=read)
    thread.start()
    opened.wait()
    change(file)
    thread.join()
    assert [one.read_text() for one in tmp_path.iterdir()] in (["new"], [])


def test_a_file_that_is_not_there_is_removed_already(tmp_path: Path) -> None:
    remove(tmp_path / "secret")
