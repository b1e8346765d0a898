"""The relay's slow path: starting the daemon, one winner among many relays that race, or saying why it did not start.

Imported only when no daemon answers. Still standard library only: the relay runs without site-packages.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from native_host import runtime
from native_host.relay import Unavailable, read_exactly, write_all

_LinkT = TypeVar("_LinkT")
START_TIMEOUT_S = 20.0
POLL_S = 0.01
_DETACHED = 0x00000008 | 0x00000200
"""Windows' DETACHED_PROCESS and CREATE_NEW_PROCESS_GROUP."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024


def start_daemon(connect: Callable[[], _LinkT | None]) -> _LinkT:
    """Start the daemon, or wait for the relay that is starting it, and connect.

    Raises Unavailable with one sentence if there is no daemon within 20 s.
    """
    folder = runtime.runtime_dir()
    lock = _open_lock(folder)
    deadline = time.monotonic() + START_TIMEOUT_S
    process: subprocess.Popen[bytes] | None = None
    while time.monotonic() < deadline:
        link = connect()
        if link is not None:
            os.close(lock)
            return link
        if process is None and _try_lock(lock):
            process = _spawn(folder)
        if process is not None and process.poll() not in (None, 0):
            raise Unavailable(f"The daemon did not start: {_reason(folder)}")
        time.sleep(POLL_S)
    raise Unavailable(f"The daemon did not answer within {START_TIMEOUT_S:.0f} s")


def answer_unavailable(from_browser: int, to_browser: int, reason: str) -> None:
    """Answer the first request with `daemon_unavailable`, the log's path and what to do."""
    log = os.path.join(runtime.runtime_dir(), runtime.START_LOG)
    request = _read_request(from_browser)
    reply = {
        "id": request.get("id") if isinstance(request.get("id"), str | int) else None,
        "type": "result",
        "action": request.get("action") if isinstance(request.get("action"), str) else None,
        "status": "error",
        "message": f"{reason}. Run `tabagent-host doctor`; the log is {log}.",
        "error": {"code": "daemon_unavailable", "details": {"log": log}},
    }
    body = json.dumps(reply).encode()
    write_all(to_browser, len(body).to_bytes(4, sys.byteorder) + body)


def _open_lock(folder: str) -> int:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.open(os.path.join(folder, runtime.START_LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be used ({error.strerror})") from error


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


def _spawn(folder: str) -> "subprocess.Popen[bytes]":
    """Start the daemon in its own session, with nothing of the browser's: no pipe, no terminal, no folder."""
    environment = {**os.environ, "PYTHONPATH": runtime.source_root()}
    log = os.open(os.path.join(folder, runtime.START_LOG), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", "native_host", "daemon"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=os.path.expanduser("~") if os.path.isdir(os.path.expanduser("~")) else os.path.abspath(os.sep),
            env=environment,
            close_fds=True,
            start_new_session=True,
            creationflags=_DETACHED if sys.platform == "win32" else 0,
        )
    except OSError as error:
        raise Unavailable(f"The daemon cannot be started ({error.strerror}: {sys.executable})") from error
    finally:
        os.close(log)


def _reason(folder: str) -> str:
    """The last line that the daemon wrote before it left."""
    try:
        with open(os.path.join(folder, runtime.START_LOG), errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        lines = []
    return lines[-1][:300].rstrip(".") if lines else "it left without a word"


def _read_request(from_browser: int) -> "dict[str, object]":
    """Read the first request for its id and action; an empty one if it cannot be read."""
    length = int.from_bytes(read_exactly(partial(os.read, from_browser), 4), sys.byteorder)
    if not 0 < length <= MAX_REQUEST_BYTES:
        return {}
    try:
        request = json.loads(read_exactly(partial(os.read, from_browser), length))
    except ValueError:
        return {}
    return request if isinstance(request, dict) else {}
