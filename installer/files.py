"""Writing files whole or not at all, and remembering which folders had to be made."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from installer.errors import InstallError


def sha256(content: bytes) -> str:
    """The digest that the receipt keeps of a file."""
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def explained(action: str, path: Path) -> Iterator[None]:
    """Turn an OSError into an InstallError that names the path and what the system said."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InstallError(
            f"Cannot {action} {path}: {reason}.",
            "Check the folder's permissions and the free disk space, or choose another place with --prefix.",
        ) from error


def read(path: Path) -> bytes | None:
    """The file's content; None where there is no such file.

    Raises:
        InstallError: it is there but cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InstallError(f"Cannot read {path}: {error.strerror or error}.") from error


def missing_folders(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist, outermost first."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing[::-1]


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make the folder and those above it, each for its owner alone unless told otherwise, as browsers make theirs."""
    with explained("make the folder", folder):
        for one in missing_folders(folder):
            one.mkdir(mode=mode, exist_ok=True)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write the file so that a reader sees the old content or the new, never a part, even after a power cut.

    Raises:
        InstallError: the system refused.
    """
    with explained("write", path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def is_writable(path: Path) -> bool:
    """Whether a file could be put at that path: tries it with a nameless file in the nearest folder that exists.

    Asking for permissions is not enough: root has them all, on read-only file systems too.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
