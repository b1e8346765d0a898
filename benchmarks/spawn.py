"""From the spawn of a host to its first reply, without a browser; the daemon runs already."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import hosts
from benchmarks.lab import Home
from benchmarks.samples import alternate, median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_times
from messages.frames import encode

LIMIT = 1.2
PING = encode({"id": 1, "action": "ping"})


def measure(sizes: Sizes) -> list[Row]:
    """One row."""
    with Home() as home:
        environment = home.sandbox.env
        first_reply_ms(home.launcher, environment)
        ours, echo = alternate(
            sizes.spawns,
            lambda _: first_reply_ms(home.launcher, environment),
            lambda _: first_reply_ms(home.echo, environment),
        )
    tails = f"p99 {quantile(ours, 0.99):.1f} and {quantile(echo, 0.99):.1f} ms"
    figure = f"relay: spawn to first reply, no browser; p50 of {sizes.spawns} ({tails})"
    return [at_most_times(figure, "ms", median(ours), median(echo), LIMIT)]


def first_reply_ms(program: Path, environment: Mapping[str, str]) -> float:
    """Start a host as a browser does, send one message, read the reply, close, and wait for its end."""
    their_in, our_out = os.pipe()
    our_in, their_out = os.pipe()
    redirections = [
        (os.POSIX_SPAWN_DUP2, their_in, 0),
        (os.POSIX_SPAWN_DUP2, their_out, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    started = time.perf_counter()
    pid = os.posix_spawn(program, [str(program), hosts.ORIGIN], dict(environment), file_actions=redirections)
    os.close(their_in)
    os.close(their_out)
    os.write(our_out, PING)
    _read_frame(our_in)
    seconds = time.perf_counter() - started
    os.close(our_out)
    os.waitpid(pid, 0)
    os.close(our_in)
    return seconds * 1000


def _read_frame(descriptor: int) -> None:
    """Read one frame whose bytes may come in pieces. EOFError if the host ended first."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
        piece = os.read(descriptor, 65536)
        if not piece:
            raise EOFError("the host ended without an answer")
        data += piece
