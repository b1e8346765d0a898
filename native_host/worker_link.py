"""The socket between the daemon and one worker: a pair that the worker inherits, or loopback TCP where there are none.

Above it: `native_host.worker_process`. The worker's side is `backends.worker.link`.
"""

import asyncio
import secrets
import socket

from messages.worker import TOKEN_VARIABLE
from native_host import runtime

CONNECT_TIMEOUT_S = 60.0


class WorkerLink:
    """Entered around the start of a worker: `address` goes to its command line, `connected` is the daemon's end."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.inherited: tuple[int, ...] = ()
        self._theirs: socket.socket
        self._ours: socket.socket | None = None
        if runtime.uses_tcp():
            self._theirs = socket.create_server(("127.0.0.1", 0))
            self._theirs.setblocking(False)
            self.address = f"tcp:{self._theirs.getsockname()[1]}"
            self.environment = {TOKEN_VARIABLE: secrets.token_hex(32)}
        else:
            self._ours, self._theirs = socket.socketpair()
            self._theirs.set_inheritable(True)
            self.inherited = (self._theirs.fileno(),)
            self.address = str(self._theirs.fileno())

    def __enter__(self) -> "WorkerLink":
        return self

    def __exit__(self, *_: object) -> None:
        self._theirs.close()

    async def connected(self) -> socket.socket:
        """The daemon's end, once the worker is there; TimeoutError if it does not come."""
        if self._ours is not None:
            return self._ours
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while True:
                connection, _ = await asyncio.get_running_loop().sock_accept(self._theirs)
                if await self._knows_token(connection):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return connection
                connection.close()

    async def _knows_token(self, connection: socket.socket) -> bool:
        wanted = self.environment[TOKEN_VARIABLE].encode()
        given = b""
        while len(given) < len(wanted):
            piece = await asyncio.get_running_loop().sock_recv(connection, len(wanted) - len(given))
            if not piece:
                return False
            given += piece
        return secrets.compare_digest(given, wanted)
