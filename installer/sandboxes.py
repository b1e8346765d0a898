"""Browsers packaged as Flatpak or Snap: which are here, and what is true about native messaging in them.

A sandboxed browser sees neither the user's files nor the user's programs. Reading the manifest is the lesser
problem; starting a program outside of the sandbox is the greater one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from installer.platforms import Platform

Kind = Literal["flatpak", "snap"]
FLATPAK_ROOTS = ("/var/lib/flatpak/app", "{home}/.local/share/flatpak/app", "{home}/.var/app")
SNAP_ROOTS = ("/snap", "/var/lib/snapd/snap")

_TRUTH: dict[str, str] = {
    "flatpak": (
        "{title} from Flatpak ({id}) cannot use the host. It runs in a sandbox and may not start programs outside"
        " of it, so a manifest in {folder} would not help, and none is written.\n"
        "What works: the same browser from your distribution or its maker, next to the Flatpak or instead of it."
        " The sandbox could be opened (flatpak override --user --talk-name=org.freedesktop.Flatpak {id}), but then"
        " anything in the browser can run any program as you. This installer does not do that."
    ),
    "snap": (
        "{title} from Snap ({id}) cannot use the host. Snap's confinement hides ~/.local and everything else that"
        " begins with a dot from it, so it cannot start the launcher; a manifest in {folder} would not help, and none"
        " is written.\n"
        "What works: the same browser as an ordinary package (a .deb, or the maker's own download)."
    ),
    "snap-portal": (
        "{title} from Snap ({id}) may work: it reads the manifest in ~/.mozilla and starts the host through a portal"
        " of the desktop, which Ubuntu 22.04 and later have. It asks once whether the extension may do so: say yes.\n"
        'If it says "No such native application", use Firefox from Mozilla\'s own package instead.'
    ),
}


@dataclass(frozen=True)
class Sandboxed:
    """A sandboxed browser that is on this machine."""

    kind: Kind
    id: str
    title: str
    registers_with: str | None
    truth: str


def _installed(platform: Platform, kind: str, package: str) -> bool:
    roots = FLATPAK_ROOTS if kind == "flatpak" else SNAP_ROOTS
    return any((Path(platform.expand(root)) / package).is_dir() for root in roots)


def _explain(platform: Platform, row: Mapping[str, str | None]) -> str:
    topic = "snap-portal" if row["registers_with"] else str(row["kind"])
    folder = platform.expand(str(row["folder"]))
    return _TRUTH[topic].format(title=row["title"], id=row["id"], folder=folder)


def detect(platform: Platform) -> list[Sandboxed]:
    """The sandboxed browsers on this machine; none anywhere but on Linux."""
    if platform.system != "linux":
        return []
    rows = json.loads(resources.files("manifests").joinpath("sandboxes.json").read_text("utf-8"))
    return [
        Sandboxed(row["kind"], row["id"], row["title"], row["registers_with"], _explain(platform, row))
        for row in rows
        if _installed(platform, row["kind"], row["id"])
    ]
