"""Where the daemon is reached: the runtime folder, its lock and secret, the socket, and who may connect to it.

Above it: `native_host.daemon`. The relay's side of the same is `native_host.relay`.
"""

import json
import logging
import os
import secrets
import socket
import stat
import struct
import sys
import time
from pathlib import Path

from native_host import runtime
from native_host.private_file import remove, write_private

logger = logging.getLogger("tabagent.listener")

BACKLOG = 128
SOCKET_PATH_BYTES = 104
"""Longest path of a Unix socket that every system takes, in bytes (macOS 104, Linux 108)."""


class AlreadyRunning(Exception):
    """Another daemon of this user holds the lock."""


class ListenError(Exception):
    """The daemon cannot be reached where it should be; the message says what to do."""


class Listener:
    """The runtime folder while this daemon has it: `open` takes it, `close` gives it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = ""
        self.socket: socket.socket | None = None
        self._lock: int | None = None

    def open(self) -> socket.socket:
        """Make the folder, take the lock, write the secret and the facts, and listen.

        Raises AlreadyRunning, or ListenError if the folder cannot be used.
        """
        try:
            _make_private(self.folder)
            self._take_lock()
            self.secret = self._write_secret()
            self.socket = self._listen()
            self._write_facts(self.socket)
        except OSError as error:
            self.stop_listening()
            raise ListenError(
                f"The folder {self.folder} cannot be used ({error.strerror or error}); "
                f"set {runtime.RUNTIME_DIR_VARIABLE} to another."
            ) from error
        return self.socket

    def stop_listening(self) -> None:
        """Let a newer daemon take this place: give the socket, the facts and the lock back, keep the clients."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
            for name in (runtime.SOCKET, runtime.DAEMON_FACTS):
                remove(self.folder / name)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self.folder / runtime.DAEMON_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(lock)
        except OSError as error:
            os.close(lock)
            raise AlreadyRunning(f"Another daemon is running; see {self.folder / runtime.DAEMON_FACTS}.") from error
        self._lock = lock

    def _write_secret(self) -> str:
        secret = secrets.token_hex(32)
        write_private(self.folder / runtime.SECRET, secret)
        return secret

    def _listen(self) -> socket.socket:
        if sys.platform == "win32" or runtime.uses_tcp():  # twice, for the type checker
            listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            listening.bind(("127.0.0.1", 0))
        else:
            path = self.folder / runtime.SOCKET
            if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
                raise OSError(0, f"its path is longer than {SOCKET_PATH_BYTES} bytes")
            remove(path)
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listening.bind(str(path))
        listening.listen(BACKLOG)
        listening.setblocking(False)
        return listening

    def _write_facts(self, listening: socket.socket) -> None:
        facts = {
            "pid": os.getpid(),
            "version": runtime.VERSION,
            "protocol": runtime.PROTOCOL,
            "started": time.time(),
            "port": listening.getsockname()[1] if runtime.uses_tcp() else None,
        }
        write_private(self.folder / runtime.DAEMON_FACTS, json.dumps(facts))


def peer_is_this_user(connection: socket.socket) -> bool:
    """True if the process at the other end of a Unix socket is this user's; on TCP the secret has to do."""
    if sys.platform == "win32" or connection.family != socket.AF_UNIX:
        return True
    return peer_uid(connection) == os.getuid()


def peer_uid(connection: socket.socket) -> int | None:
    """The user id at the other end of a Unix socket (Linux SO_PEERCRED, macOS and BSD LOCAL_PEERCRED)."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        return int(uid)
    local_peercred, xucred = 1, struct.Struct("=IIh")
    data = connection.getsockopt(0, local_peercred, 76)
    return int(xucred.unpack_from(data)[1])


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform == "win32":
        return
    facts = os.stat(folder, follow_symlinks=False)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise OSError(0, "it does not belong to this user")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        folder.chmod(0o700)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
