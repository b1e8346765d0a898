"""Where a user's daemon is found: the runtime folder, the names in it. Imports `os` and `sys`, for the relay's sake."""

import os
import sys

RUNTIME_DIR_VARIABLE = "TABAGENT_RUNTIME_DIR"
TRANSPORT_VARIABLE = "TABAGENT_TRANSPORT"

SOCKET = "daemon.sock"
SECRET = "secret"
START_LOCK = "start.lock"
DAEMON_LOCK = "daemon.lock"
DAEMON_FACTS = "daemon.json"
START_LOG = "start.log"

VERSION = "0.1.0"
PROTOCOL = 1


def runtime_dir() -> str:
    """The folder of this user's daemon: not made, not checked.

    $TABAGENT_RUNTIME_DIR, or a folder in $XDG_RUNTIME_DIR, or one with the user's id in the temporary folder.
    """
    environment = os.environ
    chosen = environment.get(RUNTIME_DIR_VARIABLE)
    if chosen:
        return chosen
    base = environment.get("XDG_RUNTIME_DIR")
    if base and os.path.isdir(base):
        return os.path.join(base, "tabagent-native-host")
    if sys.platform == "win32":
        return os.path.join(environment.get("LOCALAPPDATA", "C:\\"), "tabagent-native-host", "run")
    return os.path.join(environment.get("TMPDIR", "/tmp"), f"tabagent-native-host-{os.getuid()}")


def uses_tcp() -> bool:
    """True where the daemon listens on loopback TCP and not on a Unix socket: on Windows, and in tests of that."""
    return sys.platform == "win32" or os.environ.get(TRANSPORT_VARIABLE) == "tcp"


def python() -> "tuple[str, dict[str, str]]":
    """The Python of our other processes, and what it wants in its environment.

    A virtual environment's on Windows only starts another, whose number, memory and end it hides (CPython,
    multiprocessing/popen_spawn_win32.py, has the same way around it).
    """
    base: str = getattr(sys, "_base_executable", sys.executable)
    if sys.platform != "win32" or base == sys.executable:
        return sys.executable, {}
    return base, {"__PYVENV_LAUNCHER__": sys.executable}


def source_root() -> str:
    """The folder that holds our packages, to start our other processes from."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
