"""The daemon: one for each user, found and started by relays, gone when nobody needs it.

Above it: relays, `tabagent-host serve`. Below it: `native_host.listener`, `native_host.connection`, `native_host.host`.
"""

import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

from messages.errors import ErrorCode, HostError
from messages.replies import Event, HttpOpened
from messages.wording import plural
from native_host import runtime
from native_host.config import Config, ConfigError, Paths, load_config
from native_host.config_sections import HttpConfig
from native_host.connection import Connection
from native_host.hello import Hello, HelloAnswer, judge
from native_host.host import Host
from native_host.http.door import Door, open_door
from native_host.http.listening import DoorError
from native_host.listener import AlreadyRunning, Listener, ListenError, peer_is_this_user
from native_host.logs import configure_logging

logger = logging.getLogger("tabagent.daemon")

DRAIN_LIMIT_S = 600.0


class Daemon:
    """Serves clients until it is told to stop, is idle for long enough, or is replaced by a newer one.

    `http` is the HTTP API that it is started for and fails without; else there is the one of the configuration, if any.
    """

    def __init__(self, config: Config, paths: Paths, listener: Listener, http: HttpConfig | None = None) -> None:
        self._config = config
        self._http = http
        self._door: Door | None = None
        self._listener = listener
        self._host = Host(config, paths)
        self._host.broadcast = self._broadcast
        self._host.on_idle = self._consider_leaving
        self._host.open_http = self._open_http
        self._opening = asyncio.Lock()
        self._connections: set[Connection] = set()
        self._stopping = asyncio.Event()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._server: asyncio.Server | None = None
        self._draining = False

    async def run(self) -> None:
        """Serve."""
        listening = self._listener.open()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            _handle_signal(loop, number, self._stopping)
        self._server = await loop.create_server(self._accept, sock=listening)
        logger.info("serving in %s, version %s", self._listener.folder, runtime.VERSION)
        try:
            await self._open_door()
        except DoorError:
            self._server.close()
            self._listener.stop_listening()
            await self._host.close()
            raise
        self._consider_leaving()
        await self._stopping.wait()
        await self._leave()

    async def _open_door(self) -> None:
        """Offer the HTTP API if it is wanted. Extensions go on without one that only the configuration wants."""
        wanted = self._http or self._config.http
        if not wanted.enabled:
            return
        try:
            self._door = await open_door(self._host, wanted)
        except DoorError as error:
            if self._http is not None:
                raise
            logger.error("no HTTP API: %s", error)

    async def _open_http(self, port: int | None, wants_token: bool | None) -> HttpOpened:
        """Offer the HTTP API because the terminal asks for it; one that is offered already stays as it is."""
        async with self._opening:
            opened, door = self._door is None, self._door
            if door is None:
                asked = {"port": port, "token": wants_token}
                changes = {name: value for name, value in asked.items() if value is not None}
                try:
                    door = await open_door(self._host, self._config.http.model_copy(update=changes))
                except DoorError as error:
                    raise HostError(ErrorCode.INVALID_REQUEST, str(error), fields=[f"port: {error}"]) from error
                self._door = door
        return HttpOpened(http_url=self._host.http_url or "", wants_token=door.wants_token, opened=opened)

    def _accept(self) -> asyncio.BaseProtocol:
        connection = _Checked(self._host, self._closed, self._receive_hello)
        self._connections.add(connection)
        self._consider_leaving()
        return connection

    def _receive_hello(self, hello: Hello) -> HelloAnswer:
        if len(self._connections) > (most := self._config.daemon.max_clients):
            return HelloAnswer("refused", f"{most} {plural(most, 'port is', 'ports are')} open already; close some.")
        answer = judge(hello, self._listener.secret)
        logger.info("hello from %s (pid %s, version %s): %s", hello.origin, hello.pid, hello.version, answer.status)
        if answer.status == "draining":
            self._drain()
        elif answer.status == "ok" and hello.leave:
            self._stopping.set()
        return answer

    def _drain(self) -> None:
        """Make room for a newer daemon: take no more clients, finish what runs, leave."""
        if self._draining:
            return
        self._draining = True
        if self._server is not None:
            self._server.close()
        self._listener.stop_listening()
        if self._door is not None:
            self._door.stop_accepting()
        self._broadcast(Event("daemon_stopping", {"reason": "a newer version takes over"}))
        asyncio.get_running_loop().call_later(DRAIN_LIMIT_S, self._stopping.set)
        self._consider_leaving()

    def _closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._consider_leaving()

    def _broadcast(self, event: Event) -> None:
        for connection in self._connections:
            connection.tell(event)

    def _consider_leaving(self) -> None:
        """Start or stop the idle timer, as there is something to stay for or not."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        stays = self._door is not None or self._host.models.all() or self._host.has_unread_jobs
        busy = self._connections or self._host.has_running_jobs or (stays and not self._draining)
        if not busy:
            seconds = 0.0 if self._draining else self._config.daemon.idle_exit_s
            self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._stopping.set)

    async def _leave(self) -> None:
        """Close the door first, so that the next relay starts a daemon; then tell, stop and write what is left."""
        logger.info("leaving")
        if not self._draining:
            self._broadcast(Event("daemon_stopping", {"reason": "stopped"}))
        if self._server is not None:
            self._server.close()
        self._listener.stop_listening()
        await self._host.close()
        if self._door is not None:
            await self._door.stop()
        await asyncio.gather(*(connection.finish_answers() for connection in self._connections))
        for connection in list(self._connections):
            connection.close()


class _Checked(Connection):
    """A connection whose other end must be this user's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("socket")
        super().connection_made(transport)
        if not peer_is_this_user(peer):
            logger.warning("refused a client of another user")
            transport.close()


def _handle_signal(loop: asyncio.AbstractEventLoop, number: int, stopping: asyncio.Event) -> None:
    try:
        loop.add_signal_handler(number, stopping.set)
    except NotImplementedError:
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(stopping.set))


def main(*, to_stderr: bool = False, http: HttpConfig | None = None) -> int:
    """Run the daemon and return the exit code; `to_stderr` logs there too, for one in the foreground.

    With `http` it offers that HTTP API or fails.

    What is wrong is one sentence on stderr, which a relay reads out.
    """
    try:
        config = load_config()
    except ConfigError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 2
    paths = Paths.from_environment()
    configure_logging(paths.daemon_log, config.log, to_stderr=to_stderr)
    listener = Listener(Path(runtime.runtime_dir()))
    if sys.platform != "win32":
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it was ignored, nobody is told how a process ended
    gc.freeze()
    gc.enable()
    try:
        asyncio.run(Daemon(config, paths, listener, http).run())
    except AlreadyRunning as error:
        logger.info("%s", error)
        print(error, file=sys.stderr)  # noqa: T201
        return 0
    except (ListenError, DoorError) as error:
        logger.error("%s", error)
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0
