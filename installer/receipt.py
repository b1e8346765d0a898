"""The receipt: a JSON file in the prefix that lists everything the installer wrote, for `uninstall`.

An entry is saved before the thing it names is written: a run that is cut off leaves nothing unaccounted for.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from installer import files
from installer.errors import InstallError
from installer.registry import Hive

FILE_NAME = "receipt.json"
FORMAT = 1
FileKind = Literal["manifest", "launcher", "link", "log"]


@dataclass
class WrittenFile:
    """A file. `digest` is its SHA-256 (a link: what it points to); `previous` is the text it replaced, if that
    was someone else's, and comes back on uninstall; what is not UTF-8 in it is kept as `surrogateescape` has it."""

    kind: FileKind
    digest: str
    family: str = ""
    previous: str | None = None


@dataclass
class WrittenKey:
    """A registry key's default value, and the one it replaced."""

    hive: Hive
    key: str
    value: str
    previous: str | None = None


@dataclass
class Receipt:
    """What is installed in one prefix. Paths are absolute; `folders` are those we made, outermost first."""

    version: str = ""
    fingerprint: str = ""
    environment: str = ""
    engines: list[str] = field(default_factory=list)
    files: dict[str, WrittenFile] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    keys: list[WrittenKey] = field(default_factory=list)

    def note_folders(self, folder: Path) -> None:
        """Remember the folders that are about to be made for `folder`."""
        for missing in files.missing_folders(folder):
            if str(missing) not in self.folders:
                self.folders.append(str(missing))

    def launchers(self) -> list[str]:
        """The launchers written, the one that manifests name first."""
        return [path for path, entry in self.files.items() if entry.kind == "launcher"]

    def save(self, prefix: Path) -> None:
        """Write it to the prefix, which must exist; in ASCII, since paths and old texts need not be UTF-8."""
        row = {"format": FORMAT, **dataclasses.asdict(self)}
        content = (json.dumps(row, indent=1) + "\n").encode()
        path = prefix / FILE_NAME
        if files.read(path) != content:
            files.write_atomically(path, content, 0o600)


def load(prefix: Path) -> Receipt | None:
    """The receipt of that prefix; None where nothing was installed.

    Raises:
        InstallError: it is damaged, or of a newer format.
    """
    content = files.read(prefix / FILE_NAME)
    if content is None:
        return None
    try:
        return _parse(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InstallError(
            f"The receipt {prefix / FILE_NAME} is damaged or of a newer version ({error}).",
            "Delete that file and run install.py again: it finds its own files and writes a new receipt.",
        ) from error


def _parse(row: dict[str, Any]) -> Receipt:
    if row.pop("format") != FORMAT:
        raise ValueError("unknown format")
    row["files"] = {path: WrittenFile(**entry) for path, entry in row["files"].items()}
    row["keys"] = [WrittenKey(**entry) for entry in row["keys"]]
    return Receipt(**row)
