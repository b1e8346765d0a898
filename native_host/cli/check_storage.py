"""`doctor`'s checks of what is on disk: configuration, folders, free space, statistics. Nothing is changed."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from native_host.cli.findings import Finding, fail, ok, warn
from native_host.cli.terminal import size
from native_host.config import ConfigError, Paths, load_config
from native_host.stats_schema import ForeignSchemaError, NewerSchemaError, check_file, is_corrupt
from native_host.system_info import read_disk

_LITTLE_SPACE = 1_000_000_000
_NO_SPACE = 50_000_000


def check_config() -> Iterator[Finding]:
    """Whether the configuration can be used."""
    file = Paths.from_environment().config_file
    try:
        load_config()
    except ConfigError as error:
        yield fail("configuration", error.message, "The daemon does not start until it is mended.")
        return
    yield ok("configuration", str(file) if file.is_file() else f"all defaults; there is no {file}")


def check_folders() -> Iterator[Finding]:
    """Whether the host's folders can be written, or made."""
    paths = Paths.from_environment()
    for subject, folder, variable in (
        ("data folder", paths.data_dir, "TABAGENT_DATA_DIR"),
        ("log folder", paths.log_dir, "TABAGENT_LOG_DIR"),
    ):
        problem = _why_not_writable(folder)
        if problem is None:
            yield ok(subject, str(folder))
        else:
            remedy = f"Make it writable for you, or set {variable} to another. Until then the host works without it."
            yield warn(subject, f"{folder} cannot be written: {problem}", remedy)


def check_disk() -> Iterator[Finding]:
    """The free space where models and statistics are kept."""
    problems: list[str] = []
    disk = read_disk(Paths.from_environment().data_dir, problems)
    if disk.free_bytes is None:
        yield warn("disk", problems[0], "Look at the disk with your system's own tools.")
    elif disk.free_bytes < _NO_SPACE:
        yield fail("disk", f"only {size(disk.free_bytes)} free at {disk.path}", "Free some space.")
    elif disk.free_bytes < _LITTLE_SPACE:
        yield warn("disk", f"only {size(disk.free_bytes)} free at {disk.path}", "Free some space before adding models.")
    else:
        yield ok("disk", f"{size(disk.free_bytes)} free at {disk.path}")


def check_statistics() -> Iterator[Finding]:
    """Whether the statistics' file is sound."""
    file = Paths.from_environment().stats_file
    if not file.exists():
        yield ok("statistics", f"none yet; there is no {file}")
        return
    try:
        check_file(file)
    except (NewerSchemaError, ForeignSchemaError) as error:
        move = "Update this host, or move" if isinstance(error, NewerSchemaError) else "Move"
        remedy = f"{move} the file away. Until then figures are kept in memory only."
        yield warn("statistics", f"{file} cannot be used: {error}", remedy)
        return
    except sqlite3.Error as error:
        if is_corrupt(error):
            remedy = "Nothing to do: the daemon moves it aside at its next start and begins a new one."
            yield warn("statistics", f"{file} is corrupt", remedy)
        else:
            remedy = f"Make {file} readable and writable for you. Until then figures are kept in memory only."
            yield warn("statistics", f"{file} cannot be read: {error}", remedy)
        return
    yield ok("statistics", f"{file}, {size(_bytes_on_disk(file))}")


def _bytes_on_disk(file: Path) -> int:
    """The size of a database, with what SQLite keeps beside it while it is open: the newest rows may be there alone."""
    parts = (file, *(file.with_name(file.name + suffix) for suffix in ("-wal", "-shm")))
    return sum(part.stat().st_size for part in parts if part.exists())


def _why_not_writable(folder: Path) -> str | None:
    """None if a file can be made in a folder, or in the parent that it would be made in; else the reason."""
    existing = next(parent for parent in (folder, *folder.parents) if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return f"{error.strerror} ({existing})"
