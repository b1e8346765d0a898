"""`config`: the configuration file with every default."""

from pathlib import Path

from native_host.cli.terminal import CliError
from native_host.config import Paths
from native_host.config_toml import render_default_toml
from native_host.private_file import write_private


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
    if file.exists():
        raise CliError(f"{file} is there already and was left as it is; remove it first for a new one.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, render_default_toml())
    except OSError as error:
        raise CliError(f"Cannot write {file}: {error.strerror}. Make its folder writable.") from error
    print(f"Wrote {file}. The daemon reads it when it starts: tabagent-host stop")
