"""What the HTTP door is opened with: the configuration's [http] section and the token, and who may come in by them.

Above it: `native_host.http.door` and `native_host.http.security`.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from native_host.config_sections import HttpConfig
from native_host.origins import HTTP_ORIGIN

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<name>[^\s:/?#@\[\]]+))(?::[0-9]*)?")
"""What a Host header may be: https://www.rfc-editor.org/rfc/rfc9110#section-7.2."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The section in force, and the token that requests must carry (None: none is asked for)."""

    config: HttpConfig
    token: str | None

    def permits_host(self, header: str) -> bool:
        """Whether a `Host` header names this server and not a page's own domain that was pointed at it."""
        name = host_name(header)
        return name in LOOPBACK_NAMES or name in _lower([self.config.host, *self.config.allowed_hosts])

    def caller(self, origin: str, host: str) -> str | None:
        """Who asks: a program, our own page, or a page that the configuration lets in; None for every other page.

        `origin` is the Origin header ("" if there is none) and `host` a Host header that was permitted.
        """
        if not origin or origin == f"http://{host}":
            return HTTP_ORIGIN
        return origin if origin.rstrip("/").lower() in _lower(self.config.allowed_origins) else None


def _lower(entries: Iterable[str]) -> set[str]:
    """Entries of the configuration as browsers send them: in small letters, without a slash at the end."""
    return {entry.rstrip("/").lower() for entry in entries}


def is_loopback(host: str) -> bool:
    """True for an address that only this computer reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_name(header: str) -> str:
    """The name or address in a Host header, without its port and brackets; "" if it is none."""
    found = _HOST.fullmatch(header)
    return (found["ipv6"] or found["name"]).lower() if found else ""
