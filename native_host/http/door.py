"""Opens the HTTP door: the socket, the token, the server; and says in words why it cannot be opened.

Above it: the daemon. Below it: `native_host.http.server`, imported only here and only when the door is opened, so that
a host without HTTP does not pay for it.
"""

import asyncio
import gc
import logging
import sys
from typing import Protocol

from native_host.config_sections import HttpConfig
from native_host.host import Host
from native_host.http.listening import DoorError, open_sockets
from native_host.http.settings import HttpSettings, is_loopback
from native_host.http.token import read_or_make_token

logger = logging.getLogger("tabagent.http")

PACKAGES = ("fastapi", "uvicorn", "httptools", "sse-starlette", "prometheus-client", "python-multipart")
"""The `http` extra."""

OTHER_FILES = 1024
"""Open files that are kept for everything but HTTP connections, as far as the system lets us have them."""


class Door(Protocol):
    """The open door; with `wants_token` requests must carry the token."""

    wants_token: bool

    def stop_accepting(self) -> None:
        """Let another daemon have the port; what is under way goes on."""

    async def stop(self) -> None:
        """Close it."""


async def open_door(host: Host, config: HttpConfig) -> Door:
    """Listen and serve; sets `host.http_url`. Raises DoorError."""
    settings = _settings(host, config.model_copy(update={"max_connections": _room_for(config.max_connections)}))
    try:
        from native_host.http.server import HttpServer
    except ModuleNotFoundError as error:
        install = f"{sys.executable} -m pip install {' '.join(PACKAGES)}"
        raise DoorError(f"The HTTP API needs packages that are not installed ({error.name}): {install}") from error
    listening = await asyncio.to_thread(open_sockets, config)
    server = HttpServer(host, settings, listening)
    await server.start()
    gc.collect()
    gc.freeze()  # the web framework stays: the collector need not go through it in the middle of a stream
    host.http_url = _url(config.host, listening[0].getsockname()[1])
    how = "with the token of `tabagent-host token`" if settings.token else "without a token"
    logger.info("HTTP API at %s, %s", host.http_url, how)
    return server


def _settings(host: Host, config: HttpConfig) -> HttpSettings:
    if not config.token and not is_loopback(config.host):
        raise DoorError(f"http.host is {config.host}, which other computers reach: http.token must be true there.")
    try:
        token = read_or_make_token(host.paths.data_dir) if config.token else None
    except OSError as error:
        raise DoorError(f"The token cannot be kept in {host.paths.data_dir}: {error.strerror or error}.") from error
    return HttpSettings(config, token)


def _room_for(connections: int) -> int:
    """How many connections may be open: as many, with this process's limit of open files raised if need be, or fewer.

    Most files are left to everything else: native ports, workers, the log, connections that are being refused.
    """
    if sys.platform == "win32":
        return connections
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(1, min(connections, soft // 3))


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
