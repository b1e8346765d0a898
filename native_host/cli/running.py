"""Whether a daemon runs, found out without starting one: its facts file, its socket, its process."""

import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from messages.frames import encode
from native_host import runtime
from native_host.origins import CLI_ORIGIN
from native_host.relay import Unavailable, greet, open_socket


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """What the daemon wrote when it started; `started` is seconds since the epoch."""

    pid: int
    version: str
    started: float | None


def runtime_folder() -> Path:
    """The folder of this user's daemon."""
    return Path(runtime.runtime_dir())


def is_listening() -> bool:
    """True if something takes connections where the daemon should be."""
    try:
        open_socket(runtime.runtime_dir()).close()
    except (OSError, ValueError, IndexError):
        return False
    return True


def read_facts() -> DaemonFacts | None:
    """The facts file; None if there is none, or it cannot be read."""
    try:
        facts = json.loads((runtime_folder() / runtime.DAEMON_FACTS).read_text(encoding="utf-8"))
        started = facts.get("started")
        return DaemonFacts(
            pid=int(facts["pid"]),
            version=str(facts["version"]),
            started=float(started) if started is not None else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def daemon_process(facts: DaemonFacts | None) -> psutil.Process | None:
    """The daemon's process, if it is alive and really ours: its id may have gone to another program since."""
    if facts is None or facts.pid == os.getpid():
        return None
    try:
        process = psutil.Process(facts.pid)
        ours = any("native_host" in word or "tabagent-host" in word for word in process.cmdline())
        return process if ours and is_alive(process) else None
    except psutil.Error:
        return None


def is_alive(process: psutil.Process) -> bool:
    """True while it runs; a zombie, which nobody has waited for, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def ask_to_leave(process: psutil.Process) -> None:
    """Ask the daemon to leave in good order: by a signal or, on Windows, which knows none, by a word of its user's.

    Raises psutil.Error. On Windows one that does not listen is ended.
    """
    if sys.platform != "win32" or not say_leave():
        process.terminate()


def say_leave() -> bool:
    """Tell the daemon to leave, as whoever can read its secret may; False if it does not answer."""
    folder = runtime.runtime_dir()
    try:
        with contextlib.closing(open_socket(folder)) as link:
            secret = (Path(folder) / runtime.SECRET).read_text()
            said = {"origin": CLI_ORIGIN, "pid": os.getpid(), "version": runtime.VERSION, "protocol": runtime.PROTOCOL}
            answer = greet(link, encode({"type": "hello", **said, "secret": secret, "leave": True}))
    except (OSError, ValueError, IndexError, Unavailable):
        return False
    return b'"status":"ok"' in answer
