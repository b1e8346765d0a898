"""A home of its own for a browser, the hosts it starts and the daemon they start.

Everything that runs in a sandbox inherits its ``HOME``, so that a look through the process table finds
whatever was left behind, whoever its parent is by then.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil
from support.browsers.waiting import wait_until

FOLDERS = {
    "HOME": "home",
    "XDG_CONFIG_HOME": "home/.config",
    "XDG_DATA_HOME": "home/.local/share",
    "XDG_STATE_HOME": "home/.local/state",
    "XDG_CACHE_HOME": "home/.cache",
    "XDG_RUNTIME_DIR": "run",
    "TMPDIR": "tmp",
}
KEPT = ("PATH", "LANG", "LC_ALL")


class Sandbox:
    """A temporary root with the folders that ``HOME``, ``XDG_*`` and ``TMPDIR`` name.

    The root sits directly in the system's temporary folder: a Unix socket's path has 108 bytes at most.
    """

    def __init__(self, extra_env: Mapping[str, str] | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tabagent-e2e-"))
        self.env = {name: os.environ[name] for name in KEPT if name in os.environ}
        for variable, folder in FOLDERS.items():
            path = self.root / folder
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.env[variable] = str(path)
        self.env.update(extra_env or {})

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def runtime(self) -> Path:
        """The folder in which the daemon keeps its socket."""
        return self.root / "run" / "tabagent-native-host"

    def processes(self, word: str = "") -> list[psutil.Process]:
        """The live processes of this sandbox whose command line contains ``word``."""
        return [process for process in psutil.process_iter() if self._owns(process, word)]

    def _owns(self, process: psutil.Process, word: str) -> bool:
        try:
            return (
                process.pid != os.getpid()
                and process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("HOME") == str(self.home)
                and word in " ".join(process.cmdline())
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            return False

    def wait_for_none(self, word: str = "", timeout_s: float = 10.0) -> None:
        """Wait until no live process of this sandbox has ``word`` in its command line."""
        wait_until(f"no process with {word!r} left", lambda: not self.processes(word), timeout_s)

    def close(self) -> None:
        """Kill what still runs in the sandbox and remove its files."""
        for process in self.processes():
            kill(process.pid)
        self.wait_for_none()
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send signal ``number`` to ``pid``; a process that is gone already is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
