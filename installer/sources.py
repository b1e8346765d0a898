"""The checkout that is installed from: its version, its digest, what its extras need, and a clean copy of it.

pip builds where the sources are and leaves `build/` behind, whose stale files the next build would pick up. So it
gets a copy.
"""

import hashlib
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from installer.errors import InstallError

PACKAGES = ("messages", "backends", "native_host", "manifests", "installer")
METADATA = ("pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Checkout:
    """The folder with pyproject.toml and the packages."""

    root: Path

    @cached_property
    def _project(self) -> dict[str, Any]:
        path = self.root / "pyproject.toml"
        try:
            project: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))["project"]
        except OSError as error:
            raise InstallError(
                f"{self.root} is not a checkout of the native host: {path.name} is not there.",
                "Run install.py in the folder that git clone made.",
            ) from error
        return project

    @property
    def version(self) -> str:
        """The version it would install."""
        return str(self._project["version"])

    def requirements(self, extra: str) -> list[str]:
        """What an engine's extra needs, as pip reads it."""
        return list(self._project["optional-dependencies"][extra])

    def files(self) -> Iterator[Path]:
        """Every file that goes into the wheel, in a fixed order.

        Raises:
            InstallError: a part of the checkout is missing.
        """
        for name in METADATA + PACKAGES:
            if not (self.root / name).exists():
                raise InstallError(f"The checkout is not whole: {self.root / name} is missing.", "Clone it again.")
        yield from (self.root / name for name in METADATA)
        for package in PACKAGES:
            paths = sorted((self.root / package).rglob("*"))
            yield from (path for path in paths if path.is_file() and "__pycache__" not in path.parts)

    def fingerprint(self) -> str:
        """A digest of those files and of the Python they are installed for: equal means there is nothing to do."""
        digest = hashlib.sha256(f"{sys.version_info[:2]} {sys.base_prefix}".encode())
        for path in self.files():
            digest.update(str(path.relative_to(self.root)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def copy_to(self, folder: Path) -> None:
        """Copy those files there."""
        for path in self.files():
            destination = folder / path.relative_to(self.root)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, destination)
