"""One client's connection, on a socket to a real daemon: order, chunks, clients that do not read, clients that go."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_process import ORIGIN, BrowserHost, Json, frame_of

from native_host import connection, runtime
from native_host.config import Config, Paths
from native_host.hello import HelloAnswer
from native_host.host import Host

LARGE = "x" * 2_000_000


class Peer:
    """A client that reads only when it is told to."""

    def __init__(self, host: BrowserHost) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(20)
        self.socket.connect(str(host.home.runtime_dir / runtime.SOCKET))
        secret = (host.home.runtime_dir / runtime.SECRET).read_text()
        self.send({"type": "hello", "origin": ORIGIN, "pid": 1, "version": runtime.VERSION, "secret": secret})
        assert self.read()["status"] == "ok"

    def send(self, *messages: Json) -> None:
        self.socket.sendall(b"".join(frame_of(message) for message in messages))

    def read(self) -> Json:
        (length,) = struct.unpack("=I", self._read_exactly(4))
        message: Json = json.loads(self._read_exactly(length))
        return message

    def read_until_results(self, count: int) -> list[Json]:
        """The frames up to the last of `count` results, whole or in chunks."""
        frames: list[Json] = []
        while sum(frame["type"] == "result" or frame.get("last") is True for frame in frames) < count:
            frames.append(self.read())
        return frames

    def _read_exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the daemon closed"
            data += piece
        return bytes(data)


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        assert made.one_shot({"action": "load", "model": "echo"})["status"] == "success"
        yield made


@pytest.fixture
def peer(host: BrowserHost) -> Iterator[Peer]:
    opened = Peer(host)
    yield opened
    opened.socket.close()


def generate(identity: object, prompt: str, **fields: object) -> Json:
    return {"id": identity, "action": "generate", "prompt": prompt, "stream": False, **fields}


def test_chunks_of_two_messages_with_the_same_id_never_mix(host: BrowserHost, peer: Peer) -> None:
    peer.send(*(generate(None, letter * 1_000_000) for letter in "abc"))
    waiting = {"id": "w", "action": "list_jobs"}
    wait_until("three answers", lambda: finished_jobs(host) >= 3)
    peer.send(waiting)
    chunks = [frame for frame in peer.read_until_results(4) if frame["type"] == "chunk"]
    messages: list[str] = []
    for chunk in chunks:
        if chunk["index"] == 0:
            messages.append("")
        messages[-1] += chunk["data"]
    assert sorted(json.loads(message)["text"][:1] for message in messages) == ["a", "b", "c"]
    assert {len(json.loads(message)["text"]) for message in messages} == {1_000_000}


def finished_jobs(host: BrowserHost) -> int:
    jobs = host.one_shot({"action": "list_jobs"})["jobs"]
    return sum(job["state"] == "finished" for job in jobs)


def test_what_is_answered_at_once_does_not_overtake_what_came_before(host: BrowserHost, peer: Peer) -> None:
    peer.send(
        {"id": "l", "action": "load", "model": "second", "backend": "echo", "stream": False},
        {"id": "s", "action": "get_state"},
    )
    (state,) = [frame for frame in peer.read_until_results(2) if frame["id"] == "s"]
    assert [(model["model"], model["state"]) for model in state["models"]] == [("echo", "ready"), ("second", "loading")]
    peer.send({"id": "u", "action": "unload", "model": "second"})
    peer.read_until_results(1)


def test_a_short_answer_comes_between_the_chunks_of_a_long_one(peer: Peer) -> None:
    peer.send(generate("long", LARGE), {"id": "short", "action": "ping"})
    frames = peer.read_until_results(2)
    assert {frame["id"] for frame in frames} == {"long", "short"}
    chunks = [frame for frame in frames if frame["type"] == "chunk"]
    assert [chunk["index"] for chunk in chunks] == list(range(len(chunks)))
    assert json.loads("".join(chunk["data"] for chunk in chunks))["text"] == LARGE


def test_a_client_that_does_not_read_costs_the_daemon_bounded_memory(host: BrowserHost, peer: Peer) -> None:
    daemon = psutil.Process(host.daemon_pid)
    job = host.one_shot(generate(1, "w " * 40_000, settings={"max_tokens": 40_000}))["job_id"]
    before = daemon.memory_info().rss
    read = {"action": "read_job", "job_id": job, "cursor": 0}
    peer.send(*({"id": number, **read} for number in range(1500)))
    other = Peer(host)
    other.send({"id": "p", "action": "ping"})
    assert other.read()["response"] == "pong"
    other.socket.close()
    assert daemon.memory_info().rss - before < 120_000_000
    assert len(peer.read_until_results(1500)) >= 1500


def test_a_client_that_goes_in_the_middle_of_everything_disturbs_nobody(host: BrowserHost) -> None:
    for _ in range(20):
        peer = Peer(host)
        peer.send(generate(1, LARGE), generate(2, "x y z", stream=True), {"id": 3, "action": "ping"})
        peer.socket.close()
    assert host.one_shot({"action": "ping"})["status"] == "success"
    assert "Traceback" not in host.log


def test_answers_to_quick_requests_come_while_a_slow_one_runs(host: BrowserHost, peer: Peer) -> None:
    slow = {"action": "load", "model": "slow", "backend": "echo", "options": {"prefill_ms": 60_000}}
    host.one_shot(slow)
    peer.send(generate("slow", "x", model="slow"), {"id": "quick", "action": "ping"})
    assert peer.read()["id"] == "quick"
    peer.send({"id": "stop", "action": "stop_generation"})
    assert {peer.read()["id"], peer.read()["id"]} == {"slow", "stop"}


def test_a_connection_that_never_says_hello_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HELLO_TIMEOUT_S", 0.05)

    async def play() -> bytes:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        host = Host(Config(), Paths(tmp_path, tmp_path, tmp_path))
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(
            lambda: connection.Connection(host, lambda _: None, lambda _: HelloAnswer("ok")), ours
        )
        async with asyncio.timeout(5):
            said = await loop.sock_recv(theirs, 1)
        theirs.close()
        await host.close()
        return said

    assert asyncio.run(play()) == b""


def test_an_event_goes_only_to_those_who_were_answered(host: BrowserHost) -> None:
    told, silent = Peer(host), Peer(host)
    told.send({"id": 1, "action": "ping"})
    told.read()
    host.one_shot({"action": "load", "model": "other", "backend": "echo"})
    host.one_shot({"action": "unload", "model": "other"})
    assert told.read()["event"] == "model_unloaded"
    silent.send({"id": 1, "action": "ping"})
    assert silent.read()["response"] == "pong"
    told.socket.close()
    silent.socket.close()
