"""uvicorn in the daemon's own loop: no signal handlers, no ticking, its socket opened beforehand.

Above it: `native_host.http.door`. Below it: the application (`native_host.http.app`) and `native_host.http.protocol`.
"""

import socket
from typing import Any, cast

import uvicorn
from uvicorn.lifespan.off import LifespanOff

from native_host.host import Host
from native_host.http.app import ERROR_ANSWERS, direct_endpoints, make_app
from native_host.http.direct import Direct
from native_host.http.heads import Heads
from native_host.http.protocol import protocol_factory
from native_host.http.security import Gate
from native_host.http.settings import HttpSettings

SHUTDOWN_S = 2.0
"""How long answers that are under way may still go on when the daemon leaves, in seconds."""

BACKLOG = 512
"""Connections that the system holds until they are accepted."""


class HttpServer:
    """The API on its listening sockets, from `start` to `stop`."""

    def __init__(self, host: Host, settings: HttpSettings, listening: list[socket.socket]) -> None:
        self.wants_token = settings.token is not None
        self._sockets = listening
        app: Any = Gate(Heads(Direct(make_app(host, settings), direct_endpoints(), ERROR_ANSWERS)), settings)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=cast(Any, protocol_factory(settings.config)),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=int(SHUTDOWN_S),
            )
        )

    async def start(self) -> None:
        """Begin to accept connections."""
        self._server.config.load()
        self._server.lifespan = LifespanOff(self._server.config)
        await self._server.startup(sockets=self._sockets)

    def stop_accepting(self) -> None:
        """Let another daemon have the port; what is under way goes on."""
        for server in self._server.servers:
            server.close()
        for one in self._sockets:
            one.close()

    async def stop(self) -> None:
        """Close every connection, once what it is being answered has gone out or `SHUTDOWN_S` have passed."""
        self._server.should_exit = True
        await self._server.shutdown(sockets=self._sockets)
