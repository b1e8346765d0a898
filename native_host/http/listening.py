"""The sockets that the HTTP API listens on, and in words why there are none.

Above it: `native_host.http.door`. `localhost` is two addresses, and many clients try the one of IPv6 first: who listens
on 127.0.0.1 listens on ::1 too, where the system has it, so that nobody else is found there under the same name.
"""

import errno
import logging
import socket
import sys
from collections.abc import Iterator

from native_host.config_sections import HttpConfig

logger = logging.getLogger("tabagent.http")

IPV4, IPV6 = "127.0.0.1", "::1"
_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT})


class DoorError(Exception):
    """The API cannot be offered; the message says why and what to do."""


def open_sockets(config: HttpConfig) -> list[socket.socket]:
    """Listen wherever `http.host` is; all on one port. Raises DoorError, with none left open."""
    opened: list[socket.socket] = []
    try:
        for address in _addresses(config):
            port = opened[0].getsockname()[1] if opened else config.port
            opened.extend(_listen(config, address, port))
    except DoorError:
        for one in opened:
            one.close()
        raise
    return opened


def _addresses(config: HttpConfig) -> Iterator[str]:
    if config.host in (IPV4, "localhost"):
        yield IPV4
        yield IPV6
    else:
        yield config.host


def _listen(config: HttpConfig, address: str, port: int) -> Iterator[socket.socket]:
    """A socket; none for ::1 where the system has no IPv6."""
    try:
        family, _, _, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise DoorError(f"http.host {address!r} is no address of this computer: {error.strerror}.") from error
    try:
        yield _bound(family, place)
    except OSError as error:
        if address != config.host and error.errno in _NO_IPV6:
            logger.info("no IPv6 here: not listening on %s", address)
            return
        raise DoorError(_why_not(address, port, error)) from error


def _bound(family: int, place: tuple[object, ...]) -> socket.socket:
    # asyncio sends small pieces at once (TCP_NODELAY) only on sockets that name the protocol: else 40 ms an answer
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen()
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _why_not(address: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        # it imports psutil, which takes 6 ms: the daemon's start goes without
        from native_host.http.port_holder import holder

        where = f" on {address}" if address == IPV6 else ""
        return (
            f"Port {port} is taken{where}{holder(address, port)}. Stop that, or take another port: "
            f"tabagent-host serve --http {port + 1 if port < 65_535 else 8000}"
        )
    if error.errno == errno.EACCES:
        return f"Port {port} is for the system alone; take one above 1023: tabagent-host serve --http 8000"
    return f"Cannot listen on {address}, port {port}: {error.strerror or error}. Mend http.host."
