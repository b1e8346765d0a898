"""Reads a GGUF file's header without the engine, and trusts nothing in it.

Above it: `memory` and `describe`. A file that passes is as long as its tensors say; one that does not is never handed
to the engine, which may crash on it. Reading takes bounded time and memory whatever the file says.

Source: ggml's gguf specification (version 3) and the checks of llama.cpp's `gguf.cpp`.
"""

import struct
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import BinaryIO

from backends.formats import GGUF_MAGIC
from backends.llamacpp.tensor_types import BLOCKS, holds_weights
from messages.errors import ErrorCode, HostError
from messages.wording import plural

MAX_HEADER_BYTES = 256 * 1024 * 1024
MAX_ENTRIES = 65_536
"""Most metadata entries, and most tensors, that a header may announce."""

MAX_STRINGS = 4_000_000
"""Most strings in all arrays together: vocabularies and their merges have under a million."""

MAX_LIST = 1024
"""Longest array whose values are kept (per-layer settings); of longer ones only the length is."""

MAX_TOKENS = 1_000_000
"""Most tokens of a vocabulary that is compared; the largest have a quarter of that."""

VERSIONS = (2, 3)
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 63

UINT32, FLOAT32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
"""Types of metadata values (gguf specification, `gguf_metadata_value_type`)."""

GET_AGAIN = "Download it again, or choose another model."
GET_ANOTHER = "Get another conversion of the model, or choose another model."
"""What to do about a file that is whole, and that this llama.cpp cannot load."""

_READ_AHEAD = 1 << 20
_LENGTH = struct.Struct("<Q")
_TOKENS = "tokenizer.ggml.tokens"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Number = int | float | bool


@dataclass(frozen=True, slots=True)
class Array:
    """An array of the metadata: how many values it has, and the values if they are few numbers."""

    length: int
    values: tuple[Number, ...] = ()


Value = Number | str | Array


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself. file_bytes is its length, tensor_bytes that of its weights.

    kinds are the types of the metadata's values, tensors the weights' shapes, the extent of a row first, tensor_types
    the numbers of their types (`tensor_types.BLOCKS`).
    """

    path: Path
    metadata: dict[str, Value]
    file_bytes: int
    tensor_bytes: int
    kinds: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tensor_types: dict[str, int] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """A string of the metadata, or None if it is not there or not a string."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


class BadHeader(Exception):
    """What is wrong with a header, as the end of a sentence about the file; advice says what to do about it."""

    def __init__(self, reason: str, advice: str = GET_AGAIN) -> None:
        super().__init__(reason)
        self.advice = advice


def read_header(path: Path, *, distinct_tokens: bool = False) -> Header:
    """Read and check a GGUF file's header, and if asked, that no token is twice in its vocabulary.

    Comparing a vocabulary takes several times as long as all the rest, so only a load asks for it.
    Raises HostError `model_not_found` if the file cannot be read, `model_invalid` with what is wrong if it is corrupt.
    """
    try:
        with path.open("rb") as file:
            return _read(path, _Cursor(file, path.stat().st_size, distinct_tokens=distinct_tokens))
    except OSError as error:
        text = f"The file {path} cannot be read: {error.strerror}."
        raise HostError(ErrorCode.MODEL_NOT_FOUND, text, model_path=str(path)) from error
    except BadHeader as error:
        raise invalid_model(path, str(error), error.advice) from error


def invalid_model(path: Path, reason: str, advice: str = GET_AGAIN) -> HostError:
    """The error for a file that is no usable model; `reason` ends a sentence that begins with the file's name."""
    text = f"{path.name} {reason}. {advice}"
    return HostError(ErrorCode.MODEL_INVALID, text, model_path=str(path))


def require_epsilons(header: Header) -> None:
    """Refuse a norm's epsilon that is below zero or no number: the engine ends its process over it."""
    for key, value in header.metadata.items():
        if key.endswith("_epsilon") and isinstance(value, int | float) and not 0 <= value < inf:
            raise invalid_model(header.path, f"says {key} {value}, which no norm can have")


class _Cursor:
    """A position in a file of `size` bytes; what lies before it is in memory."""

    def __init__(self, file: BinaryIO, size: int, *, distinct_tokens: bool) -> None:
        self._file = file
        self.distinct_tokens = distinct_tokens
        self._data = bytearray()
        self.size = size
        self.position = 0
        self.strings = 0

    def reserve(self, count: int) -> int:
        """Make the next `count` bytes available, move behind them, and return where they begin."""
        start, end = self.position, self.position + count
        if end > self.size:
            raise BadHeader(f"is cut off: it ends at byte {self.size}, within its header")
        if end > MAX_HEADER_BYTES:
            raise BadHeader(f"has a header of more than {MAX_HEADER_BYTES} bytes")
        if end > len(self._data):
            self._data += self._file.read(max(end - len(self._data), _READ_AHEAD))
            if end > len(self._data):
                raise BadHeader(f"is cut off: it ends at byte {len(self._data)}, within its header")
        self.position = end
        return start

    def number(self, code: str) -> Number:
        """Read one little-endian number with a code of `struct`."""
        start = self.reserve(struct.calcsize("<" + code))
        value: Number = struct.unpack_from("<" + code, self._data, start)[0]
        return value

    def integer(self, code: str) -> int:
        """Read one integer."""
        return int(self.number(code))

    def string(self) -> str:
        """Read one string; what is not UTF-8 in it becomes U+FFFD."""
        start = self.reserve(self.integer("Q"))
        return self._data[start : self.position].decode("utf-8", "replace")

    def numbers(self, code: str, count: int) -> tuple[Number, ...]:
        """Read `count` numbers."""
        start = self.reserve(count * struct.calcsize("<" + code))
        return struct.unpack_from(f"<{count}{code}", self._data, start)

    def skip_strings(self, count: int) -> None:
        """Pass over `count` strings."""
        self.strings += count
        if self.strings > MAX_STRINGS:
            raise BadHeader(f"announces an absurd number of strings ({self.strings})")
        while count:
            self.position = self.reserve(_LENGTH.size)
            place, last = self.position, len(self._data) - _LENGTH.size
            while count and place <= last:
                place += _LENGTH.size + _LENGTH.unpack_from(self._data, place)[0]
                count -= 1
            self.reserve(place - self.position)

    def skip_tokens(self, count: int) -> None:
        """Pass over a vocabulary of `count` tokens; if they are to be distinct, BadHeader if one is there twice.

        llama.cpp ends its process over one that is (`llama-vocab.cpp`). It reads a token up to its first zero byte,
        and gives an empty one a name of its own.
        """
        if not self.distinct_tokens:
            self.skip_strings(count)
            return
        if count > MAX_TOKENS:
            raise BadHeader(f"announces an absurd number of tokens ({count})")
        start = self.position
        self.skip_strings(count)
        if not _distinct(bytes(memoryview(self._data)[start : self.position])):
            reason = "has a token twice in its vocabulary, which this llama.cpp cannot load"
            raise BadHeader(reason, GET_ANOTHER)


def _distinct(strings: bytes) -> bool:
    """Whether strings that lie one behind the other differ, as C reads them and empty ones aside."""
    seen: set[bytes] = set()
    place = count = 0
    length_at, size = _LENGTH.unpack_from, _LENGTH.size
    while place < len(strings):
        begin = place + size
        place = begin + length_at(strings, place)[0]
        text = strings[begin:place].partition(b"\0")[0]
        if text:
            seen.add(text)
            count += 1
    return len(seen) == count


def _read(path: Path, cursor: _Cursor) -> Header:
    _read_version(cursor)
    tensor_count = _read_count(cursor, "tensors")
    entry_count = _read_count(cursor, "metadata entries")
    metadata, kinds = _read_metadata(cursor, entry_count)
    alignment = _alignment(metadata)
    tensor_bytes, tensors, types = _read_tensors(cursor, tensor_count, alignment)
    needed = _padded(cursor.position, alignment) + tensor_bytes
    if needed > cursor.size:
        raise BadHeader(f"is cut off: it has {cursor.size} bytes, and its tensors need {needed}")
    return Header(path, metadata, cursor.size, tensor_bytes, kinds, tensors, types)


def _read_version(cursor: _Cursor) -> None:
    if cursor.size < 24:
        raise BadHeader(f"is not a GGUF file: it has only {cursor.size} {plural(cursor.size, 'byte')}")
    start = bytes(cursor.integer("B") for _ in GGUF_MAGIC)
    if start != GGUF_MAGIC:
        raise BadHeader(f"is not a GGUF file: it begins with {start!r}")
    version = cursor.integer("I")
    if version not in VERSIONS:
        big_endian = version & 0xFFFF == 0
        problem = "is in big-endian byte order" if big_endian else f"has GGUF version {version}"
        raise BadHeader(f"{problem}; versions {VERSIONS[0]} and {VERSIONS[-1]}, little-endian, can be read")


def _read_count(cursor: _Cursor, what: str) -> int:
    count = cursor.integer("Q")
    if count > MAX_ENTRIES:
        raise BadHeader(f"announces an absurd number of {what} ({count})")
    return count


def _read_metadata(cursor: _Cursor, count: int) -> tuple[dict[str, Value], dict[str, int]]:
    """The values of the metadata, and the type of each."""
    metadata: dict[str, Value] = {}
    kinds: dict[str, int] = {}
    for _ in range(count):
        key = cursor.string()
        if key in metadata:
            raise BadHeader(f"names {key[:80]!r} twice in its metadata")
        kinds[key] = cursor.integer("I")
        metadata[key] = _read_value(cursor, key, kinds[key])
    return metadata, kinds


def _read_value(cursor: _Cursor, key: str, kind: int) -> Value:
    if kind == STRING:
        return cursor.string()
    if kind == ARRAY:
        return _read_array(cursor, key, cursor.integer("I"), cursor.integer("Q"))
    return cursor.number(_code_of(kind))


def _read_array(cursor: _Cursor, key: str, kind: int, length: int) -> Array:
    if kind == STRING:
        skip = cursor.skip_tokens if key == _TOKENS else cursor.skip_strings
        skip(length)
        return Array(length)
    code = _code_of(kind)
    if length <= MAX_LIST:
        return Array(length, cursor.numbers(code, length))
    cursor.reserve(length * struct.calcsize("<" + code))
    return Array(length)


def _code_of(kind: int) -> str:
    code = _NUMBERS.get(kind)
    if code is None:
        raise BadHeader(f"has a metadata value of an unknown type ({kind})")
    return code


def _alignment(metadata: dict[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise BadHeader("has an alignment that is not a power of two")
    return alignment


def _read_tensors(
    cursor: _Cursor, count: int, alignment: int
) -> tuple[int, dict[str, tuple[int, ...]], dict[str, int]]:
    """Check every tensor's description; return the bytes from the first to the end of the last, shapes and types."""
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, int] = {}
    place = end = 0
    for _ in range(count):
        name = cursor.string()
        if name in shapes or len(name.encode("utf-8")) > MAX_NAME_BYTES:
            raise BadHeader(f"has a tensor whose name is used twice or too long: {name[:80]!r}")
        shapes[name], types[name], size = _read_tensor(cursor, name)
        if cursor.integer("Q") != place:
            raise BadHeader(f"says that tensor {name!r} is where it cannot be")
        end = place + size
        place = _padded(end, alignment)
    return end, shapes, types


def _read_tensor(cursor: _Cursor, name: str) -> tuple[tuple[int, ...], int, int]:
    """A tensor's shape, its type, and its bytes."""
    dimensions = cursor.integer("I")
    if dimensions > MAX_DIMENSIONS:
        raise BadHeader(f"says that tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.integer("Q") for _ in range(dimensions))
    kind = cursor.integer("I")
    if kind not in BLOCKS:
        raise BadHeader(f"has a tensor of a type that this llama.cpp does not know ({kind}): {name!r}")
    if not holds_weights(kind, name):
        raise BadHeader(f"has a tensor of a type that no weights have ({kind}): {name!r}")
    values, size = BLOCKS[kind]
    row = shape[0] if shape else 1
    if row % values:
        raise BadHeader(f"says that tensor {name!r} has rows of {row} values, which its type cannot hold")
    return shape, kind, prod(shape) // values * size


def _padded(place: int, alignment: int) -> int:
    return (place + alignment - 1) // alignment * alignment
