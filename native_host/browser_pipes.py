"""The browser's own two pipes, taken over from a relay, so that frames need not pass through another process.

Above it: `native_host.connection`. Below it: /proc, through which Linux lets a user open what another process of his
holds; opened anew, so that what is set here is not set for the relay. Wherever that does not work - another system, a
browser in a namespace of its own, stdin that is no pipe - the relay copies, and nothing else changes.

A round trip in the browser takes 1.2 times as long as with a host that answers itself, and 1.45 times by copying.
"""

import asyncio
import os
import socket
import stat
import struct
import sys
from typing import Protocol

READ_BYTES = 1 << 16


class PipeUser(Protocol):
    """Who gets what comes on the pipes."""

    def data_received(self, data: bytes | memoryview) -> None:
        """Some bytes have come."""

    def eof_received(self) -> bool:
        """The browser has closed its end; True if it is still to be written to."""

    def pause_writing(self) -> None:
        """The browser does not read."""

    def resume_writing(self) -> None:
        """It reads again."""


class BrowserPipes:
    """Both pipes of a port, and the socket of the relay that waits beside them: the end of one is the end of all."""

    def __init__(self, user: PipeUser, reading: int, writer: asyncio.WriteTransport, link: asyncio.Transport) -> None:
        self._user = user
        self._reading = reading
        self._writer = writer
        self._link = link
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        """Write to the browser."""
        self._writer.write(data)

    def is_closing(self) -> bool:
        """True once closed."""
        return self._writer.is_closing()

    def close(self) -> None:
        """Read no more, write what is left, let the relay go; the second time changes nothing."""
        self._stop_reading()
        self._writer.close()
        self._link.close()

    def resume_reading(self) -> None:
        """Begin to read, or go on."""
        if self._reading >= 0:
            self._loop.add_reader(self._reading, self._read)

    def pause_reading(self) -> None:
        """Leave in the pipe what comes."""
        if self._reading >= 0:
            self._loop.remove_reader(self._reading)

    def _read(self) -> None:
        if sys.platform == "win32":
            return
        try:
            count = os.readv(self._reading, [self._buffer])
        except BlockingIOError:
            return
        if count:
            self._user.data_received(self._buffer[:count])
            return
        self._stop_reading()
        if not self._user.eof_received():
            self.close()

    def _stop_reading(self) -> None:
        if self._reading >= 0:
            self._loop.remove_reader(self._reading)
            os.close(self._reading)
            self._reading = -1


class _Writer(asyncio.BaseProtocol):
    """What asyncio tells of the writing half."""

    def __init__(self, user: PipeUser, link: asyncio.Transport) -> None:
        self._user = user
        self._link = link

    def pause_writing(self) -> None:
        self._user.pause_writing()

    def resume_writing(self) -> None:
        self._user.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.close()


async def use_pipes(user: PipeUser, descriptors: tuple[int, int], link: asyncio.Transport) -> BrowserPipes:
    """Make the pipes ready; they are read once `resume_reading` is called."""
    reading, writing = descriptors
    loop = asyncio.get_running_loop()
    file = os.fdopen(writing, "wb", buffering=0)
    try:
        writer, _ = await loop.connect_write_pipe(lambda: _Writer(user, link), file)
    except (OSError, asyncio.CancelledError):
        os.close(reading)
        raise
    return BrowserPipes(user, reading, writer, link)


def open_pipes(relay: socket.socket, numbers: tuple[int, int]) -> tuple[int, int] | None:
    """Open the pipes that a relay, at the other end of its socket, has under two numbers; None if it cannot be done."""
    pid = peer_pid(relay)
    if not pid:
        return None
    opened: list[int] = []
    try:
        for number, flags in zip(numbers, (os.O_RDONLY, os.O_WRONLY), strict=True):
            opened.append(_open_pipe(f"/proc/{pid}/fd/{number}", flags))
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        return None
    return opened[0], opened[1]


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end of a Unix socket, by the kernel's word; 0 where that cannot be known."""
    if sys.platform != "linux" or connection.family != socket.AF_UNIX:
        return 0
    facts = struct.Struct("3i")
    pid, _, _ = facts.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, facts.size))
    return int(pid)


def _open_pipe(path: str, flags: int) -> int:
    """Open a pipe anew, not blocking. OSError if it is something else, which opening could block on or rewind."""
    if sys.platform == "win32":
        raise OSError(0, "cannot be opened by its path", path)
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError(0, "is not a pipe", path)
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
