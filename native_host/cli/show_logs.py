"""`logs`: the end of the daemon's log, and what is written from now on."""

import time
from pathlib import Path
from typing import TextIO

from native_host.cli.terminal import CliError, printable
from native_host.config import Paths
from native_host.logs import tail

_POLL_S = 0.2


def logs(lines: int, *, follow: bool) -> int:
    """Print the last lines; with `follow` until Ctrl-C."""
    file = Paths.from_environment().daemon_log
    try:
        found = tail(file, lines)
    except OSError as error:
        raise CliError(f"Cannot read {file}: {error.strerror}.") from error
    if not file.exists() and not follow:
        raise CliError(f"There is no log yet at {file}; the daemon writes it when it first runs.")
    for line in found:
        print(printable(line), flush=follow)
    if follow:
        _follow(file)
    return 0


def _follow(file: Path) -> None:
    """Print what is added, over rotations, until Ctrl-C."""
    stream: TextIO | None = None
    at_start = not file.exists()
    while True:
        if stream is None and file.exists():
            stream = file.open(encoding="utf-8", errors="replace")
            stream.seek(0, 0 if at_start else 2)
        if stream is not None:
            for line in stream:
                print(printable(line.rstrip("\n")), flush=True)
            if _rotated(stream, file):
                stream.close()
                stream, at_start = None, True
                continue
        time.sleep(_POLL_S)


def _rotated(stream: TextIO, file: Path) -> bool:
    try:
        return file.stat().st_size < stream.tell()
    except OSError:
        return True
