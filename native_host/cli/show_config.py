"""`config`: the configuration file with every default."""

import contextlib
import os
from pathlib import Path

from native_host.cli.terminal import CliError
from native_host.config import Paths
from native_host.config_toml import render_default_toml


def config(*, path_only: bool, write: bool) -> int:
    """Print the file, write it, or say where it belongs."""
    file = Paths.from_environment().config_file
    if path_only:
        print(file)
    elif write:
        _write(file)
    else:
        print(render_default_toml(), end="")
    return 0


def _write(file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _create(file, render_default_toml())
    except OSError as error:
        raise CliError(f"Cannot write {file}: {error.strerror}. Make its folder writable.") from error
    print(f"Wrote {file}. The daemon reads it when it starts: tabagent-host stop")


def _create(file: Path, text: str) -> None:
    """Write a file that only this user can read; CliError if anything has its name, as a link that leads nowhere.

    OSError if writing fails, as on a full disk, with nothing left of the attempt.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        reason = f"{file} is there already and was left as it is; remove it first for a new one."
        raise CliError(reason) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError:
        with contextlib.suppress(OSError):
            file.unlink()
        raise
