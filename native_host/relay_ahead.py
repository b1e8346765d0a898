"""What the browser says while the daemon starts: read ahead, answered with a sign of life, kept for the daemon.

Above it: `native_host.relay_start`. Below it: the browser's pipes. Standard library only. On Windows, where a pipe
cannot be asked whether there is something to read, nothing is read ahead.
"""

import json
import os
import sys
import time

from native_host.relay import read_exactly, write_all

BROWSER = 0
"""The descriptor on which the browser writes."""

READ_BYTES = 1 << 16

MOST_BYTES = 1 << 16
"""How much of a first request is read ahead, in bytes; no `load` is as large, and the pipe keeps the rest."""

MAX_REQUEST_BYTES = 64 * 1024 * 1024
_HEADER_BYTES = 4


class ReadAhead:
    """Waits for the daemon in the browser's company. `data` is what was read, for the daemon to get before all else.

    A port that asks to `load` is told at once that the host starts (PROTOCOL.md, "load"). It is known for a port by
    `"stream": true`, or by a second request.
    """

    def __init__(self, to_browser: int) -> None:
        self.data = b""
        self._to_browser = to_browser
        self._reads = sys.platform != "win32"

    def wait(self, seconds: float) -> None:
        """Wait for the browser's first request or the rest of it, at most `seconds`; once it is here, just wait."""
        if not self._reads:
            time.sleep(seconds)
        elif _is_readable(BROWSER, seconds):
            self._read()

    def _read(self) -> None:
        try:
            piece = os.read(BROWSER, READ_BYTES)
        except OSError:
            piece = b""
        self.data += piece
        end = _HEADER_BYTES + _length(self.data)
        whole = len(self.data) >= max(end, _HEADER_BYTES)
        waits = not whole
        if whole:
            request = parse(self.data[_HEADER_BYTES:end])
            is_port = request.get("stream") is True or len(self.data) > end
            waits = _may_be_told(request) and not is_port
            if _may_be_told(request) and is_port:
                self._give_sign(request)
        self._reads = self._reads and waits and bool(piece) and len(self.data) < MOST_BYTES

    def _give_sign(self, request: "dict[str, object]") -> None:
        sign = {
            "type": "progress",
            "id": request.get("id"),
            "action": "load",
            "phase": "starting",
            "message": "Starting the host.",
            "progress": None,
            "loaded_bytes": None,
            "total_bytes": None,
            "job_id": None,
        }
        try:
            write_all(self._to_browser, frame(sign))
        except OSError:
            self._reads = False  # the browser is gone, which the daemon is going to notice


def first_request(ahead: bytes) -> "dict[str, object]":
    """The browser's first request, of which `ahead` was read before; an empty one if it cannot be read."""

    def read(count: int) -> bytes:
        nonlocal ahead
        piece, ahead = ahead[:count], ahead[count:]
        return piece or os.read(BROWSER, count)

    length = _length(read_exactly(read, _HEADER_BYTES))
    return parse(read_exactly(read, length)) if length <= MAX_REQUEST_BYTES else {}


def parse(body: bytes) -> "dict[str, object]":
    """Read a body as a JSON object; an empty one if it is something else."""
    try:
        request = json.loads(body.decode())
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def frame(message: "dict[str, object]") -> bytes:
    """One frame of a message."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(_HEADER_BYTES, sys.byteorder) + body


def _length(header: bytes) -> int:
    """The length that a frame begins with."""
    return int.from_bytes(header[:_HEADER_BYTES], sys.byteorder)


def _may_be_told(request: "dict[str, object]") -> bool:
    """True for a load by somebody who takes its progress, if it is a port: by its `stream`, or without it by its id.

    One in the background is first told its job.
    """
    if request.get("action") != "load" or request.get("background") or not _has_good_id(request):
        return False
    stream = request.get("stream")
    return stream is True or (stream is None and request.get("id") is not None)


def _has_good_id(request: "dict[str, object]") -> bool:
    """True if the daemon would answer with this id, and a browser takes it: not with half an emoji in it, say."""
    identity = request.get("id")
    if isinstance(identity, str):
        return len(identity) <= 1024 and not any("\ud800" <= character <= "\udfff" for character in identity)
    return identity is None or (type(identity) is int and abs(identity) <= 2**53)


def _is_readable(descriptor: int, seconds: float) -> bool:
    if sys.platform == "win32":  # where a pipe cannot be asked
        return False
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
