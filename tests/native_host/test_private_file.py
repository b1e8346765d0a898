"""Files of this user alone: whole or not at all, and nothing left where the disk is full."""

import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from native_host.private_file import write_private


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process can grow, as on a full disk: the error is another, and the same in kind."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_written_for_this_user_alone(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", "text")
    assert (tmp_path / "secret").read_text() == "text"
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large"):
        write_private(tmp_path / "secret", "text")
    assert not list(tmp_path.iterdir())
