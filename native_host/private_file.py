"""Files that only this user can read, written whole or not at all. Standard library only.

Above it: `native_host.listener`, `native_host.http.token`.
"""

import contextlib
import os
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file; OSError if that fails, as on a full disk, with nothing left of the attempt."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
