"""Opens the HTTP door: the socket, the token, the server; and says in words why it cannot be opened.

Above it: the daemon. Below it: `native_host.http.server`, imported only here and only when the door is opened, so that
a host without HTTP does not pay for it.
"""

import asyncio
import errno
import logging
import socket
import sys
from typing import Protocol

import psutil

from native_host.config_sections import HttpConfig
from native_host.host import Host
from native_host.http.settings import HttpSettings, is_loopback
from native_host.http.token import read_or_make_token

logger = logging.getLogger("tabagent.http")


PACKAGES = ("fastapi", "uvicorn", "httptools", "sse-starlette", "prometheus-client", "python-multipart")
"""The `http` extra."""

OTHER_FILES = 1024
"""Open files that are kept for everything but HTTP connections, as far as the system lets us have them."""


class DoorError(Exception):
    """The API cannot be offered; the message says why and what to do."""


class Door(Protocol):
    """The open door."""

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
    listening = await asyncio.to_thread(_listen, config)
    server = HttpServer(host, settings, listening)
    await server.start()
    host.http_url = _url(config.host, listening.getsockname()[1])
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


def _listen(config: HttpConfig) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise DoorError(f"http.host {config.host!r} is no address of this computer: {error.strerror}.") from error
    # asyncio sends small pieces at once (TCP_NODELAY) only on sockets that name the protocol: else 40 ms an answer
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        listening.close()
        raise DoorError(_why_not(config, error)) from error
    listening.setblocking(False)
    return listening


def _why_not(config: HttpConfig, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(config.port)
        return (
            f"Port {config.port} is taken{holder}. Stop that, or take another port: "
            f"tabagent-host serve --http {config.port + 1 if config.port < 65_535 else 8000}"
        )
    if error.errno == errno.EACCES:
        return f"Port {config.port} is for the system alone; take one above 1023: tabagent-host serve --http 8000"
    return f"Cannot listen on {config.host}, port {config.port}: {error.strerror or error}. Mend http.host."


def _holder(port: int) -> str:
    """By whom a port is taken, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return ""
    pids = [one.pid for one in connections if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,)]
    for pid in pids:
        if pid is not None:
            return f" by {_process_name(pid)} (pid {pid})"
    return " by another user's program" if pids else ""


def _process_name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a program"


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
