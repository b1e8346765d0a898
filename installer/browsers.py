"""The table of browsers, where each reads its host manifests, and which of them are on this machine.

Above: `registration` writes manifests to the targets named here. Below: the data in `manifests/browsers.json`.
Rendering a target never touches the disk; detection does, and only reads.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePath
from typing import Any, Literal

from installer.errors import InstallError
from installer.platforms import Platform, System
from installer.registry import Hive, Registry

Family = Literal["chromium", "firefox"]
Scope = Literal["user", "system", "profile"]
APP_PATHS = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\App Paths\\"


@dataclass(frozen=True)
class Seat:
    """A browser on one system: its manifest folders or registry keys, and how to notice that it is there."""

    user: str | None
    system: str | None
    keys: tuple[str, ...]
    marks: tuple[str, ...]
    programs: tuple[str, ...]


@dataclass(frozen=True)
class Browser:
    """One row of the table."""

    name: str
    title: str
    family: Family
    seats: Mapping[System, Seat]


@dataclass(frozen=True)
class Target:
    """One place where a manifest goes. `registry_keys` are full, with the host's name, and empty off Windows."""

    browser: str
    title: str
    family: Family
    scope: Scope
    manifest: PurePath
    registry_keys: tuple[str, ...] = ()

    @property
    def hive(self) -> Hive:
        """The hive the keys are in."""
        return "HKLM" if self.scope == "system" else "HKCU"


def _seat(row: Mapping[str, Any]) -> Seat:
    return Seat(
        row.get("user"), row.get("system"), tuple(row.get("keys", ())), tuple(row["marks"]), tuple(row["programs"])
    )


@cache
def table() -> tuple[Browser, ...]:
    """All rows of `manifests/browsers.json`."""
    rows = json.loads(resources.files("manifests").joinpath("browsers.json").read_text("utf-8"))
    systems: tuple[System, ...] = ("linux", "darwin", "windows")
    return tuple(
        Browser(row["name"], row["title"], row["family"], {s: _seat(row[s]) for s in systems if s in row})
        for row in rows
    )


def known(platform: Platform) -> tuple[Browser, ...]:
    """The browsers that exist on this system."""
    return tuple(browser for browser in table() if platform.system in browser.seats)


def by_name(platform: Platform, name: str) -> Browser:
    """The browser of that name.

    Raises:
        InstallError: there is none on this system; the remedy lists the names.
    """
    for browser in known(platform):
        if browser.name == name.lower():
            return browser
    names = ", ".join(browser.name for browser in known(platform))
    raise InstallError(f'"{name}" is not a browser I know on this system.', f"Known: {names}.")


def target(platform: Platform, browser: Browser, host_name: str, prefix: PurePath, *, system: bool = False) -> Target:
    """Where the manifest of `host_name` goes for one browser.

    Raises:
        InstallError: the browser's folder for all users is not known.
    """
    seat = browser.seats[platform.system]
    scope: Scope = "system" if system else "user"
    if platform.system == "windows":
        manifest = platform.path(str(prefix)) / "manifests" / browser.name / f"{host_name}.json"
        keys = tuple(f"{key}\\{host_name}" for key in seat.keys)
        return Target(browser.name, browser.title, browser.family, scope, manifest, keys)
    folder = seat.system if system else seat.user
    if folder is None:
        raise InstallError(
            f"Where {browser.title} looks for hosts of all users is not known.",
            "Install without --system: that registers it for you alone and needs no rights.",
        )
    manifest = platform.expand(folder) / f"{host_name}.json"
    return Target(browser.name, browser.title, browser.family, scope, manifest)


def profile_target(folder: PurePath, host_name: str) -> Target:
    """Where a Chromium-family browser started with `--user-data-dir=folder` reads the manifest (not on Windows)."""
    manifest = folder / "NativeMessagingHosts" / f"{host_name}.json"
    return Target(str(folder), f"--user-data-dir {folder}", "chromium", "profile", manifest)


def detect(platform: Platform, registry: Registry) -> list[Browser]:
    """The browsers of the table that are on this machine, as ordinary programs (for Flatpak: `sandboxes`)."""
    return [browser for browser in known(platform) if _is_here(platform, browser.seats[platform.system], registry)]


def _is_here(platform: Platform, seat: Seat, registry: Registry) -> bool:
    if any(Path(platform.expand(mark)).exists() for mark in seat.marks):
        return True
    if platform.system == "darwin":
        return _application(platform, seat.programs)
    if platform.system == "windows":
        hives: tuple[Hive, ...] = ("HKCU", "HKLM")
        return any(registry.get(hive, APP_PATHS + name) for hive in hives for name in seat.programs)
    return any(program_path(platform, name) for name in seat.programs)


def _application(platform: Platform, programs: Sequence[str]) -> bool:
    folders = (Path("/Applications"), Path(platform.home) / "Applications")
    return any((folder / name).exists() for folder in folders for name in programs)


def program_path(platform: Platform, name: str) -> str | None:
    """The program's path where it is an ordinary one; None for Snap's, and for Ubuntu's scripts that start Snap's."""
    found = shutil.which(name, path=platform.env.get("PATH", os.defpath))
    if found is None or found.startswith("/snap/") or os.path.realpath(found).endswith("/snap"):
        return None
    try:
        with open(found, "rb") as file:
            head = file.read(4096)
    except OSError:
        return found
    return None if head.startswith(b"#!") and b"/snap/bin/" in head else found
