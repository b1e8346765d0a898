"""Two descriptors as one socket: a thread copies each way, where asyncio itself cannot wait for them.

So it is for every pipe that Windows gives a process, for a file, as in `stdio < requests`, and for one socket that is
both, as socat and inetd give it: asyncio takes what comes on it for its end. Above it: `native_host.stdio`.
"""

import contextlib
import logging
import os
import socket
import stat
import threading

logger = logging.getLogger("tabagent.stdio")

COPY_BYTES = 1 << 16


def needs_copies(from_client: int, to_client: int) -> bool:
    """Whether asyncio cannot wait for one of them, or for both at once."""
    if os.name == "nt":
        return True
    requests, answers = os.fstat(from_client), os.fstat(to_client)
    if stat.S_ISSOCK(requests.st_mode) and os.path.samestat(requests, answers):
        return True
    return stat.S_ISREG(requests.st_mode) or stat.S_ISREG(answers.st_mode)


class StdioCopies:
    """Copies from `socket` to a client's descriptor, and from the client to it, until either end closes."""

    def __init__(self, from_client: int, to_client: int) -> None:
        self.socket, self._inner = socket.socketpair()
        self.socket.setblocking(False)
        threading.Thread(target=self._copy_requests, args=(from_client,), daemon=True).start()
        self._replies = threading.Thread(target=self._copy_replies, args=(to_client,), daemon=True)
        self._replies.start()

    def finish(self, timeout: float) -> None:
        """Wait until the client has all that was written, `timeout` seconds at most."""
        self._replies.join(timeout)

    def _copy_requests(self, from_client: int) -> None:
        with contextlib.suppress(OSError):  # the host has closed
            while data := _read(from_client):
                self._inner.sendall(data)
            self._inner.shutdown(socket.SHUT_WR)

    def _copy_replies(self, to_client: int) -> None:
        with contextlib.suppress(OSError):  # the client no longer reads
            while data := self._inner.recv(COPY_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(to_client, view) :]
        self._inner.close()


def _read(descriptor: int) -> bytes:
    """What has come; nothing if no more does, and if it cannot be read: the host would wait for it for ever."""
    try:
        return os.read(descriptor, COPY_BYTES)
    except OSError as error:
        logger.warning("standard input cannot be read: %s", error.strerror)
        return b""
