"""`doctor`'s checks of the place where the daemon is reached, and of the daemon that runs there, if one does."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from native_host import runtime
from native_host.cli.findings import Finding, fail, ok, warn
from native_host.cli.running import daemon_process, is_listening, read_facts, runtime_folder
from native_host.listener import SOCKET_PATH_BYTES
from native_host.runtime import VERSION

_SET_ANOTHER = f"Set {runtime.RUNTIME_DIR_VARIABLE} to a folder of your own, for the browser too."


def check_folder() -> Iterator[Finding]:
    """The runtime folder: its owner, its permissions, and what an ended daemon may have left in it."""
    folder = runtime_folder()
    if not runtime.uses_tcp() and len(os.fsencode(folder / runtime.SOCKET)) > SOCKET_PATH_BYTES:
        text = f"the path {folder / runtime.SOCKET} is longer than {SOCKET_PATH_BYTES} bytes; sockets cannot have it"
        yield fail("runtime folder", text, _SET_ANOTHER)
        return
    if not os.path.lexists(folder):
        yield ok("runtime folder", f"{folder}, made when the daemon first starts")
        return
    problem = _permission_problem(folder)
    yield problem or ok("runtime folder", str(folder))
    if problem is None and (folder / runtime.SOCKET).exists() and not is_listening():
        remedy = "Nothing to do: the next start takes its place."
        yield warn("socket", f"{folder / runtime.SOCKET} is left from a daemon that was killed", remedy)


def check_daemon() -> Iterator[Finding]:
    """The running daemon, and whether it is of the version that is installed."""
    facts = read_facts()
    process = daemon_process(facts)
    if not is_listening():
        if process is not None:
            text = f"its process {process.pid} lives but takes no connections"
            yield fail("daemon", text, "Kill it: tabagent-host stop --force")
        else:
            yield ok("daemon", "not running; it starts by itself when it is needed")
    elif facts is None:
        yield warn("daemon", "running, but its facts file is missing or unreadable", "Close your browsers for a while.")
    elif facts.version != VERSION:
        text = f"running (pid {facts.pid}) is version {facts.version}, installed is {VERSION}"
        yield warn("daemon", text, "Restart it: tabagent-host stop")
    else:
        yield ok("daemon", f"running, pid {facts.pid}, version {facts.version}")


def _permission_problem(folder: Path) -> Finding | None:
    if sys.platform == "win32":
        return None
    facts = folder.stat(follow_symlinks=False)
    if not stat.S_ISDIR(facts.st_mode):
        return fail("runtime folder", f"{folder} is not a folder", f"Remove it: rm '{folder}'")
    if facts.st_uid != os.getuid():
        return fail("runtime folder", f"{folder} belongs to another user", _SET_ANOTHER)
    for path, wanted in ((folder, 0o700), (folder / runtime.SECRET, 0o600)):
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else wanted
        if mode & 0o077:
            text = f"{path} can be read by others (mode {mode:04o})"
            return warn("runtime folder", text, f"chmod {wanted:o} '{path}'; then tabagent-host stop")
    return None
