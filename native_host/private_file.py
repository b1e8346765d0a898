"""Files that only this user can read, written whole or not at all, and removed. Standard library only.

On Windows a file that somebody reads can be neither replaced nor removed, and relays read one when they look for the
daemon. Above it: `native_host.listener`, `native_host.http.token`.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_READ_S = 1.0
"""How long somebody may read a file, in seconds."""

_PAUSE_S = 0.005


def write_private(path: Path, text: str) -> None:
    """Write a file; OSError if that fails, as on a full disk, with nothing left of the attempt."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        _when_unread(lambda: temporary.replace(path))
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        _when_unread(path.unlink)


def _when_unread(change: Callable[[], object]) -> None:
    until = time.monotonic() + _READ_S
    while True:
        try:
            change()
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return
