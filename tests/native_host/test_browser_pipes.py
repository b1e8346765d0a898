"""Taking over another process's pipes: only pipes, only where they can be opened."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from native_host.browser_pipes import open_pipes, peer_pid


@pytest.fixture
def relay() -> Iterator[socket.socket]:
    """A socket whose other end is this process."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_pipes_are_opened_anew_so_that_the_relays_own_stay_as_they_are(
    relay: socket.socket, pipe: tuple[int, int]
) -> None:
    opened = open_pipes(relay, pipe)
    assert opened is not None
    assert not any(map(os.get_blocking, opened))
    assert all(map(os.get_blocking, pipe))
    os.write(opened[1], b"through")
    assert os.read(pipe[0], 100) == b"through"
    for descriptor in opened:
        os.close(descriptor)


def test_what_is_no_pipe_or_is_not_there_is_left_alone(
    relay: socket.socket, pipe: tuple[int, int], tmp_path: Path
) -> None:
    reading, writing = pipe
    with (tmp_path / "file").open("w") as file:
        assert open_pipes(relay, (file.fileno(), writing)) is None
        assert open_pipes(relay, (reading, file.fileno())) is None
        assert open_pipes(relay, (relay.fileno(), writing)) is None
        assert open_pipes(relay, (reading, 1_000_000)) is None


def test_nothing_is_taken_over_a_tcp_connection(pipe: tuple[int, int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as relay:
        assert peer_pid(relay) == 0
        assert open_pipes(relay, pipe) is None


def test_the_kernel_says_who_is_at_the_other_end(relay: socket.socket) -> None:
    assert peer_pid(relay) == os.getpid()
