"""Files are written whole or not at all."""

import os
from pathlib import Path

import pytest

from installer import files
from installer.errors import InstallError


def test_a_file_is_replaced_whole_with_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    files.write_atomically(path, b"new", 0o755)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path) == ["x"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InstallError, match="No space left on device"):
        files.write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_place_that_refuses_is_named_with_the_systems_reason() -> None:
    with pytest.raises(InstallError, match="/proc/x: "):
        files.write_atomically(Path("/proc/x"), b"")
    with pytest.raises(InstallError, match="/proc/a"):
        files.make_folder(Path("/proc/a/b"))
    assert not files.is_writable(Path("/proc/a/b"))


def test_the_folders_that_are_missing_are_named_from_the_outside_in(tmp_path: Path) -> None:
    assert files.missing_folders(tmp_path / "a" / "b") == [tmp_path / "a", tmp_path / "a" / "b"]
    files.make_folder(tmp_path / "a" / "b")
    assert files.missing_folders(tmp_path / "a" / "b") == []
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
