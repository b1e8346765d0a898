"""The private Python environment: made with venv, filled with pip, each step shown while it runs.

Above: `install`. Below: `subprocess`. pip runs with the user's own configuration (index, proxy, certificates), but
for the options that would make it install somewhere else.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from installer.errors import InstallError
from installer.terminal import Step

CREATE_TIMEOUT_S = 180
PIP_TIMEOUT_S = 1800
PIP_LEAVES_S = 5
TAIL_LINES = 12
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
"""The variables that name the folder of temporary files, on one system or the other."""

_STRAY = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


class PipError(InstallError):
    """pip failed; `tail` holds what it gave as the error, or where it gave nothing so named, its last lines."""

    def __init__(self, message: str, tail: Sequence[str], remedy: str) -> None:
        super().__init__(message, remedy)
        self.tail = tuple(line for line in tail if line.startswith("ERROR")) or tuple(tail)


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `folder`, and the log that everything pip says goes to."""

    folder: Path
    log: Path

    @property
    def python(self) -> Path:
        """Its interpreter, as POSIX and as Windows call it."""
        if os.name == "nt":
            return self.folder / "Scripts" / "python.exe"
        return self.folder / "bin" / "python3"

    def program(self, name: str) -> Path:
        """A console script that was installed into it."""
        return self.python.with_name(f"{name}.exe" if os.name == "nt" else name)

    def ask(self, code: str, timeout_s: float = 30) -> str | None:
        """What that code prints in it; None if it does not run there (as after the base Python is gone)."""
        command = [str(self.python), "-I", "-c", code]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, env=clean_env(os.environ), check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    def site_packages(self) -> Path:
        """The folder that holds the installed packages.

        Raises:
            InstallError: the environment does not start.
        """
        answer = self.ask("import sysconfig; print(sysconfig.get_path('purelib'))")
        if not answer:
            raise InstallError(f"{self.python} does not start.", "Run install.py again; it makes a new environment.")
        return Path(answer)

    def works(self) -> bool:
        """Whether it starts, has pip, and its Python is the one that runs this."""
        version = self.ask("import sys, pip; print(*sys.version_info[:2])")
        return version == f"{sys.version_info[0]} {sys.version_info[1]}"

    def create(self) -> None:
        """Make it anew, in place of what may be there.

        Raises:
            InstallError: venv failed, with what it said.
        """
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        try:
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=CREATE_TIMEOUT_S,
                env=clean_env(os.environ),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallError(f"Python's venv module could not be run: {error}.") from error
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise InstallError(
                f"Making the environment {self.folder} failed:\n{said}",
                "On Debian and Ubuntu: sudo apt install python3-venv. Else check the disk and the folder's rights.",
            )

    def remove(self) -> None:
        """Delete it, if it is an environment."""
        if (self.folder / "pyvenv.cfg").is_file():
            shutil.rmtree(self.folder)

    def pip_install(
        self,
        arguments: Sequence[str],
        step: Step,
        timeout_s: float = PIP_TIMEOUT_S,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Run `pip install` with the variables given, or this process's own, telling `step` what it is at.

        Its temporary files are in a folder of ours, which goes with it also where it is killed.

        Raises:
            PipError: it failed or took longer than `timeout_s`.
        """
        command = [
            str(self.python),
            "-I",
            "-u",
            "-m",
            "pip",
            "install",
            "--no-input",
            "--progress-bar",
            "off",
            *arguments,
        ]
        given = os.environ if variables is None else variables
        env = {**clean_env(given), "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        tail: list[str] = []
        with (
            self.log.open("a", encoding="utf-8") as log,
            tempfile.TemporaryDirectory(prefix="pip-", ignore_cleanup_errors=True) as folder,
            _start(command, {**env, **dict.fromkeys(_TEMPORARY, folder)}) as process,
        ):
            log.write(f"$ {' '.join(command)}\n")
            expired = threading.Event()
            timer = threading.Timer(timeout_s, _expire, (process, expired))
            timer.start()
            try:
                _follow(process, log.write, tail, step)
                code = process.wait()
            except KeyboardInterrupt:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PIP_LEAVES_S)  # the terminal told it too, and it removes its temporary files
                raise
            finally:
                timer.cancel()
                process.kill()
        if expired.is_set():
            raise PipError(f"pip took longer than {timeout_s:.0f} s and was stopped.", tail, _REMEDY.format(self.log))
        if code:
            raise PipError(f"pip failed with status {code}.", tail, _remedy(tail, self.log))


_REMEDY = "Check the network (pip uses your proxy settings), then run install.py again. All of pip's output: {}"


def _remedy(tail: Sequence[str], log: Path) -> str:
    text = "\n".join(tail)
    if "No space left" in text:
        return f"The disk is full: free about 600 MB and run install.py again. All of pip's output: {log}"
    if "No matching distribution found" in text:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return (
            "Either pip cannot reach its package index (check the network and the proxy settings), or the index has"
            f" no build for Python {version} on this system. All of pip's output: {log}"
        )
    return _REMEDY.format(log)


def clean_env(env: Mapping[str, str]) -> dict[str, str]:
    """The environment without what points a Python or a pip at another place than its own."""
    return {name: value for name, value in env.items() if name not in _STRAY}


def _start(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
    )


def _expire(process: subprocess.Popen[str], expired: threading.Event) -> None:
    expired.set()
    process.kill()


def _follow(process: subprocess.Popen[str], write: Callable[[str], object], tail: list[str], step: Step) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        write(line)
        tail[:] = [*tail, line.strip()][-TAIL_LINES:]
        if doing := describe(line):
            step.update(doing)


def describe(line: str) -> str | None:
    """One line of pip's output as something a user wants to know; None for the rest."""
    words = line.split()
    if len(words) < 2:
        return None
    if words[0] == "Collecting":
        return f"looking for {words[1].split('>')[0].split('=')[0].split('[')[0]}"
    if words[0] in ("Downloading", "Using", "Processing") and "whl" in line:
        name = next(word for word in words if "whl" in word).rsplit("/", 1)[-1]
        size = line[line.rindex("(") + 1 : line.rindex(")")] if "(" in line else ""
        return f"fetching {name.split('-')[0]} {size}".rstrip()
    if line.strip().startswith("Building wheel for"):
        return f"building {words[3]}"
    if line.startswith("Installing collected packages"):
        return f"unpacking {line.count(',') + 1} packages"
    return None
