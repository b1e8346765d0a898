"""Firefox's Marionette protocol over TCP: ``<length>:<JSON>`` messages, one command at a time.

Below it is a Firefox started with ``--marionette``; above it is ``firefox.py``.
https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html
"""

from __future__ import annotations

import json
import socket
from typing import Any

from support.browsers.errors import BrowserError, BrowserGone

READ_BYTES = 1 << 20


class Marionette:
    """One client: a command is sent, then messages are read until its answer has come."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        """Connect to ``port`` of this machine; no answer may take longer than ``timeout_s``."""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self._buffer = bytearray()
        self._last_id = 0
        self._read_message()

    def command(self, name: str, params: dict[str, object] | None = None) -> Any:
        """Send a command and return its result.

        Raises ``BrowserError`` for an error answer, ``BrowserGone`` when the connection ends, ``TimeoutError``.
        """
        self._last_id += 1
        data = json.dumps([0, self._last_id, name, params or {}]).encode()
        try:
            self._socket.sendall(b"%d:%b" % (len(data), data))
            error, result = self._read_answer(self._last_id)
        except ConnectionError:
            raise BrowserGone("the browser closed the connection") from None
        if error:
            raise BrowserError(f"{name}: {error['error']}: {error['message']}")
        return result

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _read_answer(self, number: int) -> tuple[dict[str, str] | None, Any]:
        while True:
            kind, answered, error, result = self._read_message()
            if kind == 1 and answered == number:
                return error, result

    def _read_message(self) -> Any:
        while (colon := self._buffer.find(b":")) < 0:
            self._fill()
        end = colon + 1 + int(self._buffer[:colon])
        while len(self._buffer) < end:
            self._fill()
        message = json.loads(self._buffer[colon + 1 : end])
        del self._buffer[:end]
        return message

    def _fill(self) -> None:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise BrowserGone("the browser closed the connection")
        self._buffer += data
