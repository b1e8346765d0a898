"""The worker's side of its socket to the daemon. The other side is `native_host.worker_link`."""

import os
import socket
import threading

from messages.frames import frame
from messages.worker import TOKEN_VARIABLE, Event, write_event


class EventWriter:
    """Writes events to the socket, whole frames only, from either thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Send one event; blocks while the daemon does not read. Once it is gone nobody misses the event."""
        data = frame(write_event(event))
        try:
            with self._lock:
                self._connection.sendall(data)
        except ConnectionError:
            pass


def open_link(address: str) -> socket.socket:
    """The socket to the daemon: an inherited file descriptor's number, or `tcp:PORT` on loopback.

    On TCP the first bytes that are sent are the token in the environment, by which the daemon knows its worker.
    """
    if not address.startswith("tcp:"):
        return socket.socket(fileno=int(address))
    connection = socket.create_connection(("127.0.0.1", int(address.removeprefix("tcp:"))))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(os.environ.pop(TOKEN_VARIABLE).encode())
    return connection
