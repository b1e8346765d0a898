"""Two descriptors as one socket: a thread copies each way, where asyncio itself cannot wait for them.

So it is for every pipe that Windows gives a process, and for a file, as in `stdio < requests`.
Above it: `native_host.stdio`.
"""

import contextlib
import os
import socket
import stat
import threading

COPY_BYTES = 1 << 16


def needs_copies(*descriptors: int) -> bool:
    """Whether asyncio cannot wait for one of them."""
    return os.name == "nt" or any(stat.S_ISREG(os.fstat(one).st_mode) for one in descriptors)


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
            while data := os.read(from_client, COPY_BYTES):
                self._inner.sendall(data)
            self._inner.shutdown(socket.SHUT_WR)

    def _copy_replies(self, to_client: int) -> None:
        with contextlib.suppress(OSError):  # the client no longer reads
            while data := self._inner.recv(COPY_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(to_client, view) :]
        self._inner.close()
