"""The reference host: as small as a native-messaging host in Python can be written with json and struct."""

import json
import struct
import sys

MOST_BYTES = 1 << 20
"""A browser takes no more back: of a larger message the length is told."""


def main() -> None:
    """Echo every message until the browser closes."""
    while header := sys.stdin.buffer.read(4):
        (length,) = struct.unpack("=I", header)
        message = json.loads(sys.stdin.buffer.read(length))
        if length > MOST_BYTES:
            message = {"length": length}
        body = json.dumps(message).encode()
        sys.stdout.buffer.write(struct.pack("=I", len(body)) + body)
        sys.stdout.buffer.flush()


main()
