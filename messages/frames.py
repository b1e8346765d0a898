"""The frame codec of native messaging, with no I/O: a 4-byte length in native byte order, then UTF-8 JSON.

Above it: `messages.requests` (what a frame says). Below it: whoever owns the bytes - the daemon's connection,
the worker's socket. The same frame is used on all three hops. Importing it takes the standard library only: it is free.

Source: Chrome's native messaging documentation, "Native messaging protocol"; limits measured in Chromium and Firefox.
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAX_INBOUND_BYTES = 64 * 1024 * 1024
"""Largest body that a browser can send, in bytes (Chromium's own limit)."""

MAX_OUTBOUND_BYTES = 256 * 1024
"""Largest body that we write as one frame, in bytes; larger messages go out as chunks."""

MAX_WORKER_BYTES = 8 * MAX_INBOUND_BYTES
"""Largest body between the daemon and a worker, in bytes: the largest request with all settings beside it, or as much
text, of which a character that was one byte may take six as an escape."""

MAX_SAFE_INTEGER = 2**53

_HEADER = struct.Struct("=I")
_CHUNK_CHARACTERS = 60_000
"""Characters a chunk: at most 4 UTF-8 bytes each, so every chunk frame stays under `MAX_OUTBOUND_BYTES`."""

_LARGE_BYTES = 1 << 18
"""From here on, in bytes, a body is not copied where that can be helped, and is parsed by the faster parser."""

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FrameError:
    """What is wrong with the bytes; `fatal` means that nothing after it can be read."""

    code: Literal["invalid_json", "frame_too_large"]
    message: str
    fatal: bool = False


class FrameDecoder:
    """Cuts a byte stream into frame bodies: `feed` bytes in, iterate over `frames`, ask `truncated` at EOF."""

    def __init__(self, max_bytes: int = MAX_INBOUND_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._dead = False

    def feed(self, data: bytes | memoryview) -> None:
        """Add received bytes; after a fatal error they are dropped."""
        if not self._dead:
            self._buffer += data

    def frames(self) -> Iterator[bytes | bytearray | FrameError]:
        """Yield each complete body, then stop until more is fed; a body over the limit is one fatal error."""
        while not self._dead and len(self._buffer) >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._buffer)
            if length > self._max_bytes:
                yield self._refuse(length)
                return
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            yield self._cut(end)

    @property
    def truncated(self) -> bool:
        """True if the bytes fed so far end inside a frame."""
        return bool(self._buffer)

    def _cut(self, end: int) -> bytes | bytearray:
        """The body that ends at `end`; a large one that nothing follows is handed over, as copying it takes long."""
        if end > _LARGE_BYTES and end == len(self._buffer):
            body, self._buffer = self._buffer, bytearray()
            del body[: _HEADER.size]
            return body
        copy = bytes(memoryview(self._buffer)[_HEADER.size : end])
        del self._buffer[:end]
        return copy

    def _refuse(self, length: int) -> FrameError:
        self._dead = True
        self._buffer.clear()
        text = f"The message's length is {length} bytes; the limit is {self._max_bytes}. Send less at a time."
        return FrameError("frame_too_large", text, fatal=True)


def parse_object(body: bytes | bytearray) -> JsonObject | FrameError:
    """Read a frame's body as a JSON object.

    Lone surrogates (half an emoji, which JavaScript strings can hold) become U+FFFD. NaN and Infinity, a byte-order
    mark, bad UTF-8, any value that is not an object, and nesting beyond the parser's depth are an `invalid_json`.
    """
    if not body:
        return FrameError("invalid_json", "The message is empty; send a JSON object.")
    large = _parse_large(body) if len(body) > _LARGE_BYTES else None
    if large is not None:
        return large
    try:
        value = _DECODER.decode(body.decode("utf-8"))
        if _SURROGATE_ESCAPE.search(body):
            value = _mend_surrogates(value)
    except UnicodeDecodeError as error:
        return FrameError("invalid_json", f"The message is not UTF-8 (byte {error.start}).")
    except RecursionError:
        return FrameError("invalid_json", "The message is nested too deeply.")
    except (json.JSONDecodeError, _RefusedConstant) as error:
        return FrameError("invalid_json", f"The message is not JSON: {error}.")
    except ValueError:  # what int() says of its limit is meant for programmers
        return FrameError("invalid_json", "The message has a number of too many digits.")
    if not isinstance(value, dict):
        kind = _JSON_KINDS[type(value)]
        return FrameError("invalid_json", f"The message is {kind}; send a JSON object.")
    return value


def _parse_large(body: bytes | bytearray) -> JsonObject | None:
    """Read an object that is as it should be ten times faster, with pydantic's parser; None for all else.

    A request with pictures has many megabytes, and nothing else is answered while it is parsed.
    """
    from pydantic_core import from_json  # whoever reads small frames, such as the relay, does without

    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def encode(message: Mapping[str, Any]) -> bytes:
    """Make one frame of a message, strict JSON whatever it holds, of any size."""
    return frame(encode_body(message))


def frame(body: bytes) -> bytes:
    """Put the length before a body."""
    return _HEADER.pack(len(body)) + body


def frame_of(pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """What to write, in order, to write a frame whose body is in pieces: large ones as they are, not copied."""
    head = _HEADER.pack(sum(map(len, pieces)))
    if len(pieces[0]) > _LARGE_BYTES:
        return [head, *pieces]
    return [head + pieces[0], *pieces[1:]]


def encode_outbound(message: Mapping[str, Any], max_bytes: int = MAX_OUTBOUND_BYTES) -> list[bytes]:
    """The frames of a message on its way to a browser: one, or `chunk` frames if it is over `max_bytes`."""
    body = encode_body(message)
    return [frame(body)] if len(body) <= max_bytes else _chunks(message.get("id"), body.decode("utf-8"))


def _chunks(identity: Any, text: str) -> list[bytes]:
    starts = range(0, len(text), _CHUNK_CHARACTERS)
    return [
        encode(
            {
                "id": identity,
                "type": "chunk",
                "index": index,
                "last": start == starts[-1],
                "data": text[start : start + _CHUNK_CHARACTERS],
            }
        )
        for index, start in enumerate(starts)
    ]


def dump(message: Mapping[str, Any]) -> str:
    """Write strict JSON as a text; see `encode_body`."""
    return encode_body(message).decode("utf-8")


def quoted(text: str) -> str:
    """A text as strict JSON."""
    return _encode_string(_without_lone_surrogates(text))


_encode_string = json.encoder.encode_basestring
"""In C, and not in ASCII alone."""


def encode_body(message: Mapping[str, Any]) -> bytes:
    """Write strict JSON: no NaN, no lone surrogates, no integer beyond 2**53 (it becomes the nearest double)."""
    from pydantic_core import to_json  # four times as fast; whoever only reads, such as the relay, does without

    if _is_strict(message):
        try:
            return to_json(message, inf_nan_mode="null")
        except ValueError:
            pass  # a lone surrogate
    return to_json(_strict(message))


def _is_strict(message: Mapping[str, Any]) -> bool:
    """True if no integer in it is beyond 2**53 and all is what JSON knows; quick, as it is asked for every message."""
    values: list[Any] = [message]
    for value in values:
        kind = type(value)
        if kind is str or value is None:
            continue
        if kind is dict:
            values.extend(value.values())
        elif kind is list or kind is tuple:
            values.extend(value)
        elif isinstance(value, int):
            if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                return False
        elif not isinstance(value, str | float):
            return False
    return True


def _strict(value: Any) -> Any:
    if isinstance(value, str):
        return _without_lone_surrogates(value)
    if isinstance(value, dict):
        return {_strict(str(key)): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_SAFE_INTEGER else _strict(_nearest_double(value))
    if isinstance(value, float):
        return value if value - value == 0 else None
    raise TypeError(f"{type(value).__name__} has no place in a message")


def _mend_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _without_lone_surrogates(value)
    if isinstance(value, dict):
        return {_without_lone_surrogates(key): _mend_surrogates(item) for key, item in value.items()}
    return [_mend_surrogates(item) for item in value] if isinstance(value, list) else value


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _nearest_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


class _RefusedConstant(ValueError):
    """NaN or Infinity, which Python's parser would take."""


def _refuse_constant(name: str) -> None:
    raise _RefusedConstant(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)

_JSON_KINDS: dict[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}
