"""The Chrome DevTools Protocol over two pipes: JSON messages, each ended by a NUL byte.

Below it is a browser started with ``--remote-debugging-pipe``; above it is ``chromium.py``. It knows commands,
answers and events, and nothing of pages. https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from typing import Any

from support.browsers.errors import BrowserError, BrowserGone

Json = dict[str, Any]
READ_BYTES = 1 << 20


class CdpPipe:
    """One client: a command is sent, then messages are read until its answer has come."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = bytearray()
        self._next_id = 0
        self._closed = False
        self.events: deque[Json] = deque(maxlen=1000)

    def command(
        self, method: str, params: Json | None = None, session: str | None = None, timeout_s: float = 30.0
    ) -> Json:
        """Send ``method`` and return its result.

        Raises ``BrowserError`` for an error answer, ``BrowserGone`` when the pipe ends, ``TimeoutError``.
        """
        self._next_id += 1
        message: Json = {"id": self._next_id, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        self._write(json.dumps(message).encode() + b"\0")
        answer = self._read_until_id(self._next_id, method, time.monotonic() + timeout_s)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error'].get('message')}")
        result: Json = answer["result"]
        return result

    def wait_event(self, method: str, timeout_s: float = 10.0) -> Json:
        """Return the parameters of the first ``method`` event seen since start, reading on if there is none."""
        end = time.monotonic() + timeout_s
        while True:
            for event in self.events:
                if event["method"] == method:
                    self.events.remove(event)
                    params: Json = event["params"]
                    return params
            self._read_message(method, end)

    def close(self) -> None:
        """Close both pipe ends, once."""
        if self._closed:
            return
        self._closed = True
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._write_fd, view) :]
        except BrokenPipeError:
            raise BrowserGone("the browser closed its pipe") from None

    def _read_until_id(self, number: int, method: str, end: float) -> Json:
        while True:
            message = self._read_message(method, end)
            if message.get("id") == number:
                return message

    def _read_message(self, method: str, end: float) -> Json:
        """Read one message, keeping it in ``events`` if it is one."""
        while (stop := self._buffer.find(0)) < 0:
            self._fill(method, end)
        message: Json = json.loads(self._buffer[:stop])
        del self._buffer[: stop + 1]
        if "method" in message:
            self.events.append(message)
        return message

    def _fill(self, method: str, end: float) -> None:
        readable, _, _ = select.select([self._read_fd], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            raise TimeoutError(f"{method}: no answer in time")
        data = os.read(self._read_fd, READ_BYTES)
        if not data:
            raise BrowserGone("the browser closed its pipe")
        self._buffer += data
