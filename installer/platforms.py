"""Which system this is and where it keeps things; a value, so that any system can be rendered on any other.

Nothing here touches the disk, but for `current`. The folders are those of platformdirs for the app name
`tabagent-native-host`, which `native_host` uses, so that both agree without this package needing platformdirs.
"""

import os
import platform as stdlib_platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Literal

APP_NAME = "tabagent-native-host"
System = Literal["linux", "darwin", "windows"]


def _uid() -> int:
    if sys.platform == "win32":
        return 0
    return os.getuid()


@dataclass(frozen=True)
class Platform:
    """A system (every other POSIX system counts as "linux"), a home folder, an environment and a user's number."""

    system: System
    home: PurePath
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int = 0

    @classmethod
    def current(cls) -> "Platform":
        """The machine this runs on."""
        names: dict[str, System] = {"Windows": "windows", "Darwin": "darwin"}
        env = dict(os.environ)
        if not os.path.isdir(env.get("XDG_RUNTIME_DIR", "")):  # as in a container or behind `su`: no daemon is there
            env.pop("XDG_RUNTIME_DIR", None)
        return cls(names.get(stdlib_platform.system(), "linux"), Path.home(), env, _uid())

    def path(self, text: str) -> PurePath:
        """A path in this system's own notation."""
        return PureWindowsPath(text) if self.system == "windows" else PurePosixPath(text)

    def expand(self, template: str) -> PurePath:
        """Fill in the placeholders of `manifests/browsers.json`."""
        return self.path(template.format_map(self._places()))

    def _places(self) -> dict[str, str]:
        home = self.path(str(self.home))
        if self.system == "windows":
            return {
                "home": str(home),
                "local": self.env.get("LOCALAPPDATA") or str(home / "AppData" / "Local"),
                "roaming": self.env.get("APPDATA") or str(home / "AppData" / "Roaming"),
            }
        return {
            "home": str(home),
            "config": self.env.get("XDG_CONFIG_HOME") or str(home / ".config"),
            "support": str(home / "Library" / "Application Support"),
        }

    def data_folder(self) -> PurePath:
        """Where the daemon keeps statistics and models, and the installer its environment."""
        if override := self.env.get("TABAGENT_DATA_DIR"):
            return self.path(override)
        if self.system == "windows":
            return self.expand("{local}") / APP_NAME
        if self.system == "darwin":
            return self.expand("{support}") / APP_NAME
        return self._xdg("XDG_DATA_HOME", ".local/share") / APP_NAME

    def config_folder(self) -> PurePath:
        """Where the daemon reads config.toml."""
        if override := self.env.get("TABAGENT_CONFIG_DIR"):
            return self.path(override)
        if self.system == "linux":
            return self.expand("{config}") / APP_NAME
        return self.data_folder()

    def log_folder(self) -> PurePath:
        """Where the daemon and its workers log."""
        if override := self.env.get("TABAGENT_LOG_DIR"):
            return self.path(override)
        if self.system == "windows":
            return self.expand("{local}") / APP_NAME / "Logs"
        if self.system == "darwin":
            return self.path(str(self.home)) / "Library" / "Logs" / APP_NAME
        return self._xdg("XDG_STATE_HOME", ".local/state") / APP_NAME / "log"

    def runtime_folder(self) -> PurePath:
        """Where the daemon's socket is; the rule is that of `native_host.runtime`."""
        if chosen := self.env.get("TABAGENT_RUNTIME_DIR"):
            return self.path(chosen)
        if self.system == "windows":
            return self.expand("{local}") / APP_NAME / "run"
        if session := self.env.get("XDG_RUNTIME_DIR"):
            return self.path(session) / APP_NAME
        return self.path(self.env.get("TMPDIR") or "/tmp") / f"{APP_NAME}-{self.uid}"

    def system_prefix(self) -> PurePath:
        """Where an installation for every user of the machine goes."""
        if self.system == "windows":
            return self.path(self.env.get("PROGRAMFILES") or "C:\\Program Files") / APP_NAME
        if self.system == "darwin":
            return self.path("/Library/Application Support") / APP_NAME
        return self.path("/opt") / APP_NAME

    def _xdg(self, variable: str, fallback: str) -> PurePath:
        return self.path(self.env.get(variable) or str(self.path(str(self.home)) / fallback))
