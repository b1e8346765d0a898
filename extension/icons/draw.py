#!/usr/bin/env python3
"""Draw the extension's icons as PNG: ``python3 extension/icons/draw.py`` writes 16, 32, 48 and 128 pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

SIZES = (16, 32, 48, 128)
SAMPLES = 4
GREEN = (0x14, 0x70, 0x5F)
WHITE = (0xFF, 0xFF, 0xFF)
Shape = Callable[[float, float], bool]


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> Shape:
    """A rectangle with round corners; all lengths are fractions of the icon's side."""

    def inside(x: float, y: float) -> bool:
        across = max(left + radius - x, x - (right - radius), 0.0)
        down = max(top + radius - y, y - (bottom - radius), 0.0)
        return across * across + down * down <= radius * radius

    return inside


def tail(x: float, y: float) -> bool:
    """The corner that makes a speech bubble of a rectangle."""
    return 0.27 <= x <= 0.48 and 0.62 <= y <= 0.84 - (x - 0.27)


TILE = rounded(0.0, 0.0, 1.0, 1.0, 0.22)
BUBBLE = rounded(0.16, 0.2, 0.84, 0.68, 0.13)
DOTS = [rounded(middle - 0.065, 0.375, middle + 0.065, 0.505, 0.065) for middle in (0.32, 0.5, 0.68)]


def colour(x: float, y: float) -> tuple[int, int, int] | None:
    """The icon's colour at a point, or None outside of it."""
    if not TILE(x, y):
        return None
    if any(dot(x, y) for dot in DOTS) or not (BUBBLE(x, y) or tail(x, y)):
        return GREEN
    return WHITE


def pixel(column: int, row: int, size: int) -> bytes:
    """One pixel as RGBA, the mean of its samples."""
    steps = [(index + 0.5) / SAMPLES for index in range(SAMPLES)]
    seen = [colour((column + dx) / size, (row + dy) / size) for dy in steps for dx in steps]
    inked = [sample for sample in seen if sample]
    if not inked:
        return bytes(4)
    red, green, blue = (sum(channel) // len(inked) for channel in zip(*inked, strict=True))
    return bytes((red, green, blue, 255 * len(inked) // len(seen)))


def rows(size: int) -> Iterator[bytes]:
    """The lines of the picture, each with PNG's filter byte before it."""
    for row in range(size):
        yield b"\0" + b"".join(pixel(column, row, size) for column in range(size))


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG file (W3C PNG specification, section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: int) -> bytes:
    """The icon as a PNG file, 8 bits a channel, RGBA."""
    header = struct.pack(">IIBBBBB", size, size, 8, 6, 0, 0, 0)
    body = zlib.compress(b"".join(rows(size)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def main() -> None:
    """Write every size beside this file."""
    for size in SIZES:
        (Path(__file__).parent / f"{size}.png").write_bytes(png(size))


if __name__ == "__main__":
    main()
