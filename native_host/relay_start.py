"""The relay's slow path: starting the daemon, one winner among many relays that race, or saying why it did not start.

Imported only when no daemon answers. Still standard library only: the relay runs without site-packages. What takes a
while to import waits until the daemon is on its way.
"""

import os
import sys
import time

from native_host import runtime
from native_host.relay import Unavailable, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from native_host.relay import Link
    from native_host.relay_ahead import ReadAhead

    Ended = Callable[[], "int | None"]
    """How the daemon that was started has ended: its exit status, None while it runs."""

START_TIMEOUT_S = 20.0
_QUICK_START = {"PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""We have no plugins for pydantic; it reads the metadata of every installed package to find that out."""

POLL_S = 0.002
"""Seconds between two looks for the daemon, each of which takes some 20 us."""

_APART = 0x08000000 | 0x00000200
"""Windows' CREATE_NO_WINDOW and CREATE_NEW_PROCESS_GROUP: a console that nobody sees, which the workers share.

Without any (DETACHED_PROCESS) each worker would open a window."""

_OUTSIDE_JOB = 0x01000000
"""CREATE_BREAKAWAY_FROM_JOB: Firefox ends all that is in its job when the port is closed (MDN, Native messaging)."""


def start_daemon(connect: "Callable[[bytes], Link | None]", to_browser: int) -> "Link":
    """Start the daemon, or wait for the relay that is starting it, and connect.

    `connect` gets what was read of the browser's requests meanwhile; so has Unavailable, which is raised with one
    sentence if there is no daemon within 20 s.
    """
    folder = runtime.runtime_dir()
    lock = _open_lock(folder)
    is_ours = _try_lock(lock)
    link = connect(b"") if is_ours else None  # who had the lock before may just have started one
    if link is None:
        link = _start_and_wait(connect, to_browser, lock, _spawn(folder) if is_ours else None)
    os.close(lock)
    return link


def _start_and_wait(
    connect: "Callable[[bytes], Link | None]", to_browser: int, lock: int, ended: "Ended | None"
) -> "Link":
    from native_host.relay_ahead import ReadAhead

    browser = ReadAhead(to_browser)
    try:
        return _wait(connect, browser, lock, ended)
    except Unavailable as error:
        error.ahead = browser.data
        raise


def _wait(connect: "Callable[[bytes], Link | None]", browser: "ReadAhead", lock: int, ended: "Ended | None") -> "Link":
    """Look for the daemon in the browser's company, and start one if the relay that was starting it has given up."""
    folder = runtime.runtime_dir()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        is_ours = ended is None and _try_lock(lock)
        link = connect(browser.data)
        if link is not None:
            return link
        if is_ours:
            ended = _spawn(folder)
        if ended is not None and ended() not in (None, 0):
            raise Unavailable(f"The daemon did not start: {_reason(folder)}")
        browser.wait(POLL_S)
    raise Unavailable(f"The daemon did not answer within {START_TIMEOUT_S:.0f} s")


def answer_unavailable(ahead: bytes, to_browser: int, reason: str) -> None:
    """Answer the first request, of which `ahead` was read, with `daemon_unavailable`, the log's path and what to do."""
    from native_host.relay_ahead import first_request, frame

    log = os.path.join(runtime.runtime_dir(), runtime.START_LOG)
    request = first_request(ahead)
    reply = {
        "id": request.get("id") if isinstance(request.get("id"), str | int) else None,
        "type": "result",
        "action": request.get("action") if isinstance(request.get("action"), str) else None,
        "status": "error",
        "message": f"{reason.rstrip('.')}. Run `tabagent-host doctor`; the log is {log}.",
        "error": {"code": "daemon_unavailable", "details": {"log": log}},
    }
    write_all(to_browser, frame(reply))


def _open_lock(folder: str) -> int:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be used ({error.strerror})") from error
    return _open(folder, runtime.START_LOCK, os.O_RDWR)


def _open(folder: str, name: str, flags: int) -> int:
    try:
        return os.open(os.path.join(folder, name), flags | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be used ({error.strerror}: {name})") from error


def _try_lock(lock: int) -> bool:
    """Take the start lock without waiting; it is given back when this process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _spawn(folder: str) -> "Ended":
    """Start the daemon in its own session, with nothing of the browser's: no pipe, no terminal, no folder."""
    python, wanted = runtime.python()
    command = [python, "-P", "-s", "-m", "native_host", "daemon"]
    environment = {**_QUICK_START, **_without_pythons(os.environ), **wanted, "PYTHONPATH": runtime.source_root()}
    home = os.path.expanduser("~")
    cwd = home if os.path.isdir(home) and os.access(home, os.X_OK) else os.path.abspath(os.sep)
    log = _open(folder, runtime.START_LOG, os.O_WRONLY | os.O_TRUNC)
    try:
        return _start(command, environment, cwd, log)
    except OSError as error:
        raise Unavailable(f"The daemon cannot be started ({error.strerror}: {sys.executable})") from error
    finally:
        os.close(log)


def _without_pythons(environment: "Mapping[str, str]") -> "dict[str, str]":
    """Without what other Pythons are told: a browser's environment is ours, and PYTHONHOME of its package ends us.

    This process itself runs under `-E`, and does not heed them.
    """
    return {name: value for name, value in environment.items() if not name.startswith("PYTHON")}


if sys.platform == "win32":

    def _start(command: "list[str]", environment: "dict[str, str]", cwd: str, log: int) -> "Ended":
        import subprocess

        def start(flags: int) -> "Ended":
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=environment,
                creationflags=flags,
            ).poll

        try:
            return start(_APART | _OUTSIDE_JOB)
        except PermissionError:  # a job that lets nothing out
            return start(_APART)

else:

    def _start(command: "list[str]", environment: "dict[str, str]", cwd: str, log: int) -> "Ended":
        """As `subprocess` does it, whose import takes as long as the whole relay: this process has no other thread."""
        pid = os.fork()
        if pid:
            return lambda: _end_of(pid)
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.closerange(3, _most_descriptors())
            os.chdir(cwd)
            os.execve(command[0], command, environment)
        except OSError as error:
            os.write(2, f"{error.strerror}: {error.filename or command[0]}\n".encode())
        finally:
            os._exit(1)

    def _end_of(pid: int) -> "int | None":
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        return os.waitstatus_to_exitcode(status) if done else None

    def _most_descriptors() -> int:
        """One more than the highest descriptor that is open here."""
        try:
            return max(int(name) for name in os.listdir("/dev/fd")) + 1
        except OSError:
            return os.sysconf("SC_OPEN_MAX")


def _reason(folder: str) -> str:
    """The last line that the daemon wrote before it left."""
    try:
        with open(os.path.join(folder, runtime.START_LOG), errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:300].rstrip(".") if lines else _why_silent(folder)


def _why_silent(folder: str) -> str:
    """Why a daemon left nothing to read: on a full disk it can write no word, as it can write nothing else."""
    try:
        with open(os.path.join(folder, runtime.START_LOG), "w") as file:
            file.write("\n")
    except OSError as error:
        return f"the folder {folder} cannot be written ({error.strerror})"
    return "it left without a word"
