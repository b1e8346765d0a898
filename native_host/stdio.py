"""`python -m native_host stdio`: the same host on this process's own stdin and stdout, with no daemon.

For tests, and for places where nothing may stay behind: models and jobs end with the process.
"""

import asyncio
import logging
import os
import sys

from native_host.config import Config, ConfigError, Paths, load_config
from native_host.connection import Connection
from native_host.host import Host
from native_host.logs import configure_logging
from native_host.origins import CLI_ORIGIN
from native_host.relay import take_stdout
from native_host.stdio_copies import StdioCopies, needs_copies

logger = logging.getLogger("tabagent.stdio")

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

LAST_WORDS_S = 5.0
"""How long a client that is slow to read may take for what was written last, in seconds."""


async def serve(config: Config, paths: Paths, from_client: int, to_client: int, origin: str) -> None:
    """Serve one client on two file descriptors until it closes its end."""
    loop = asyncio.get_running_loop()
    host = Host(config, paths)
    connection = _StdioConnection(host, origin)
    host.broadcast = connection.tell
    if needs_copies(from_client, to_client):
        copies = StdioCopies(from_client, to_client)
        await loop.create_connection(lambda: connection, sock=copies.socket)
        await connection.wait_closed()
        await loop.run_in_executor(None, copies.finish, LAST_WORDS_S)
    else:
        writer = _Writer(connection)
        await loop.connect_write_pipe(lambda: writer, os.fdopen(to_client, "wb", buffering=0))
        await loop.connect_read_pipe(lambda: connection, os.fdopen(from_client, "rb", buffering=0))
        await connection.wait_closed()
        await asyncio.wait({writer.ended}, timeout=LAST_WORDS_S)
    await host.close()


class _StdioConnection(Connection):
    """A client whose reading end closes by itself: its last answers still get a moment."""

    def __init__(self, host: Host, origin: str) -> None:
        self._read_all = asyncio.Event()
        super().__init__(host, lambda _connection: None, origin=origin)

    def eof_received(self) -> bool:
        self.note_truncation()
        self._read_all.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._read_all.set()

    def close(self) -> None:
        super().close()
        self._read_all.set()

    async def wait_closed(self) -> None:
        """Wait until the client has closed its end and what it asked for last is answered, or a moment has passed.

        An answer of which it has a part, as it is slow to read, has as long as what was written last.
        """
        await self._read_all.wait()
        await self.finish_answers()
        if self.is_writing:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS_S)
        super().connection_lost(None)
        self.close()


class _Writer(asyncio.BaseProtocol):
    """The writing half of a client on two pipes; `ended` once all is written, or the client no longer reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._connection.attach_writer(transport)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)
        self._connection.connection_lost(exc)


def main(arguments: list[str]) -> int:
    """Run the loop; fd 1 is taken away from everything else before an engine could print to it."""
    if not (_is_open(0) and _is_open(1)):
        print("Requests come on standard input and answers go to standard output: both must be open.", file=sys.stderr)  # noqa: T201
        return 2
    to_client = take_stdout()
    from_client = os.dup(0)
    try:
        config = load_config()
    except ConfigError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 2
    paths = Paths.from_environment()
    configure_logging(paths.daemon_log, config.log)
    origin = arguments[0] if arguments else CLI_ORIGIN
    try:
        asyncio.run(serve(config, paths, from_client, to_client, origin))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
