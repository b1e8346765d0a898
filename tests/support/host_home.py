"""A home for one host: every folder it uses is in a temporary one, and its daemon is stopped at the end."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from native_host import runtime

COMMAND_TIMEOUT_S = 90.0
_PASSED_ON = (
    *("PATH", "LANG", "COVERAGE_PROCESS_START", "LD_LIBRARY_PATH"),
    *("SYSTEMROOT", "LOCALAPPDATA", "APPDATA", "USERPROFILE", "TEMP", "WINEPREFIX"),
)


class HostHome:
    """A hermetic home. `env` is the whole environment of a process that is to live in it.

    The folder is in the system's temporary folder itself, because the path of a Unix socket must be short.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tabagent-"))
        self.runtime_dir = self.folder / "run"
        self.data_dir = self.folder / "data"
        self.config_dir = self.folder / "config"
        self.log_dir = self.folder / "log"
        self.env = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": str(self.folder),
            runtime.RUNTIME_DIR_VARIABLE: str(self.runtime_dir),
            "TABAGENT_DATA_DIR": str(self.data_dir),
            "TABAGENT_CONFIG_DIR": str(self.config_dir),
            "TABAGENT_LOG_DIR": str(self.log_dir),
        }

    def __enter__(self) -> "HostHome":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run("stop", "--force")
        shutil.rmtree(self.folder)

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """`tabagent-host` with arguments, from this checkout."""
        return [sys.executable, "-m", "native_host", *arguments]

    def run(self, *arguments: str, stdin: str | bytes = b"") -> "subprocess.CompletedProcess[str]":
        """Run `tabagent-host` with arguments to its end."""
        text = stdin.decode("utf-8", "surrogateescape") if isinstance(stdin, bytes) else stdin
        return subprocess.run(
            self.command(*arguments),
            input=text,
            check=False,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=COMMAND_TIMEOUT_S,
            env=self.env,
            cwd=runtime.source_root(),
        )

    def write_config(self, text: str) -> Path:
        """Write the configuration file."""
        self.config_dir.mkdir(exist_ok=True)
        file = self.config_dir / "config.toml"
        file.write_text(text, encoding="utf-8")
        return file

    def daemon_pid(self) -> int:
        """The running daemon's process id."""
        return int(json.loads((self.runtime_dir / runtime.DAEMON_FACTS).read_text())["pid"])
