"""A host that is not running: a port that loads a model hears at once, and no byte of what it sends is lost or doubled.

Where a test holds the start lock, the relay waits for the daemon for as long as the test wants.
"""

import contextlib
import fcntl
import json
import select
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browsers.waiting import wait_until
from support.host_process import ORIGIN, BrowserHost, Json, Port, frame_of, raw_frame

from messages.replies import Progress
from native_host import runtime

BROKEN_CONFIG = "[daemon]\nidle_exit_s = -1\n"
SIGN = Progress(id="load", action="load", phase="starting", message="Starting the host.").to_wire()


@pytest.fixture(params=["unix", "tcp"])
def host(request: pytest.FixtureRequest) -> Iterator[BrowserHost]:
    """A host that is not running; its daemon takes over the browser's pipes, or its relay copies."""
    with BrowserHost(env={runtime.TRANSPORT_VARIABLE: request.param}) as made:
        yield made


@pytest.fixture
def unix_host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


def load_request(**fields: object) -> Json:
    return {"id": "load", "action": "load", "model": "echo", "stream": True, **fields}


def answers(port: Port) -> list[Json]:
    return [arrival.message for arrival in port.arrivals]


@contextlib.contextmanager
def held_start(host: BrowserHost) -> Iterator[None]:
    """Keep relays from starting a daemon."""
    folder = host.home.runtime_dir
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / runtime.START_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unread(port: Port) -> int:
    """Bytes that the relay has not read, or that wait for room in its pipe."""
    assert port.process.stdin is not None
    (count,) = struct.unpack("i", fcntl.ioctl(port.process.stdin.fileno(), termios.FIONREAD, b"\0" * 4))
    return int(count)


def wait_read(port: Port) -> None:
    wait_until("a relay that has read all", lambda: unread(port) == 0)


def test_a_load_is_heard_of_before_there_is_a_daemon(host: BrowserHost) -> None:
    with host.port() as port:
        with held_start(host):
            port.send(load_request())
            assert port.wait(lambda _: True) == SIGN
            assert not (host.home.runtime_dir / runtime.DAEMON_FACTS).exists()
        assert port.result("load")["status"] == "success"


def test_a_second_request_shows_that_it_is_a_port_which_is_told_then(host: BrowserHost) -> None:
    request = load_request()
    del request["stream"]
    with host.port() as port:
        with held_start(host):
            port.send(request)
            wait_read(port)
            assert answers(port) == []
            port.send({"id": "asked", "action": "generate", "prompt": "a b"})
            assert port.wait(lambda _: True) == SIGN
        assert port.result("load")["status"] == "success"
        assert port.result("asked")["text"] == "a b"
        assert [one["id"] for one in answers(port) if one["type"] == "result"] == ["load", "asked"]


@pytest.mark.parametrize("fields", [{"id": None}, {"stream": False}])
def test_who_wants_the_result_alone_gets_it_alone_whatever_else_is_asked(host: BrowserHost, fields: Json) -> None:
    request = load_request(**fields)
    if "stream" not in fields:
        del request["stream"]
    with host.port() as port:
        with held_start(host):
            port.send_bytes(frame_of(request) + frame_of({"id": "p", "action": "ping"}))
            wait_until("a relay that reads", lambda: unread(port) == 0)
        port.result("p")
        assert port.result(request["id"])["status"] == "success"
        assert {one["type"] for one in answers(port)} == {"result"}


def test_a_load_in_the_background_is_told_its_job_before_all_else(host: BrowserHost) -> None:
    with host.port() as port:
        with held_start(host):
            port.send_bytes(frame_of(load_request(background=True)) + frame_of({"id": "p", "action": "ping"}))
            wait_read(port)
        assert port.result("load")["status"] == "success"
        assert port.of("load")[0]["type"] == "accepted"


def test_the_load_is_then_carried_out_once(host: BrowserHost) -> None:
    with host.port() as port:
        port.send(load_request())
        result = port.result("load")
        assert (result["status"], result["message"]) == ("success", "echo is loaded.")
        messages = answers(port)
        assert (messages[0], messages[1]["message"]) == (SIGN, "Starting a worker for echo.")
        assert [one["type"] for one in messages].count("result") == 1
        assert port.call("ping")["pid"] == host.daemon_pid
    assert host.log.count("loaded echo") == 1


def test_a_request_in_pieces_is_heard_of_when_it_is_whole(host: BrowserHost) -> None:
    data = frame_of(load_request())
    with host.port() as port:
        with held_start(host):
            for start in range(0, len(data), 30):
                assert answers(port) == []
                port.send_bytes(data[start : start + 30])
                wait_read(port)
            assert port.wait(lambda _: True) == SIGN
        assert port.result("load")["status"] == "success"


def test_a_request_whose_first_part_was_read_before_the_daemon_came_is_put_together(host: BrowserHost) -> None:
    data = frame_of(load_request())
    for cut in (2, 4, 40):
        with host.port() as port:
            with held_start(host):
                port.send_bytes(data[:cut])
                wait_read(port)
            pid = wait_until("a daemon", lambda: running_daemon(host), 20)
            port.send_bytes(data[cut:])
            assert port.result("load")["status"] == "success"
            assert port.call("ping")["pid"] == pid
        host.stop_daemon()


def running_daemon(host: BrowserHost) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return host.daemon_pid
    return None


@pytest.mark.parametrize("size", [200_000, 3_000_000])
@pytest.mark.parametrize("first", [{"action": "ping"}, load_request(), None], ids=["ping", "load", "nothing"])
def test_a_large_request_arrives_as_it_was_sent(host: BrowserHost, size: int, first: Json | None) -> None:
    text = " ".join(str(number) for number in range(size // 7))
    big = {"id": "big", "action": "update_settings", "settings": {"stop": [text, "x", 3]}}
    with host.port() as port:
        port.send_bytes((b"" if first is None else frame_of(first)) + frame_of(big) + frame_of({"action": "ping"}))
        assert port.result("big")["error"]["details"]["fields"] == ["settings.stop[2]: must be a string"]
        assert port.result(None)["response"] == "pong"
        settings = {"max_tokens": len(text)}
        port.call("load", model="echo")
        assert port.call("generate", prompt=text, stream=False, settings=settings)["text"] == text


def test_two_requests_at_once_are_answered_in_their_order(host: BrowserHost) -> None:
    text = "word " * 600_000
    generate = {"id": "g", "action": "generate", "prompt": text, "stream": False, "settings": {"max_tokens": 600_000}}
    with host.port() as port:
        port.send_bytes(frame_of(load_request()) + frame_of(generate))
        assert port.result("g", 60)["text"].split() == text.split()
        assert [one["id"] for one in answers(port) if one["type"] == "result"] == ["load", "g"]


def test_hundreds_of_requests_that_were_read_ahead_are_all_answered(host: BrowserHost) -> None:
    with host.port() as port:
        with held_start(host):
            port.send_bytes(b"".join(frame_of({"id": number, "action": "list_jobs"}) for number in range(1200)))
            wait_until("a relay that reads", lambda: unread(port) == 0)
        port.wait_count(lambda message: message["type"] == "result", 1200)
        assert sorted(one["id"] for one in answers(port)) == list(range(1200))


@pytest.mark.parametrize("sent", [b"", b"\x07", frame_of({"id": 1, "action": "ping"})[:9]])
def test_a_browser_that_goes_at_once_leaves_no_relay(host: BrowserHost, sent: bytes) -> None:
    with host.port() as port:
        port.send_bytes(sent)
        port.close_stdin()
        assert port.wait_end() == 0
        assert answers(port) == []


def test_a_load_whose_port_is_closed_at_once_is_heard_of_and_goes_on(host: BrowserHost) -> None:
    with host.port() as port:
        port.send(load_request())
        port.close_stdin()
        assert port.wait_end() == 0
        assert answers(port)[0] == SIGN
    states = wait_until("a loaded model", lambda: host.one_shot({"action": "get_state"})["models"])
    assert [state["model"] for state in states] == ["echo"]


def test_eight_relays_that_race_all_give_a_sign_and_load_the_model_once(host: BrowserHost) -> None:
    ports = [host.port() for _ in range(8)]
    for port in ports:
        port.send(load_request())
    results = [port.result("load", 60) for port in ports]
    firsts = [answers(port)[0] for port in ports]
    for port in ports:
        port.close()
    assert len({result["model"]["pid"] for result in results}) == 1
    assert [first["phase"] for first in firsts] == ["starting"] * 8
    assert SIGN in firsts
    assert host.log.count("loaded echo") == 1


def said_at_start(host: BrowserHost) -> str:
    with contextlib.suppress(FileNotFoundError):
        return (host.home.runtime_dir / runtime.START_LOG).read_text()
    return ""


@pytest.mark.parametrize("cut", [0, 3, 4, 30, 10_000])
def test_a_daemon_that_does_not_start_is_said_to_the_request_that_was_read(cut: int) -> None:
    data = frame_of(load_request())
    with BrowserHost(BROKEN_CONFIG) as host, host.port() as port:
        port.send_bytes(data[:cut])
        wait_until("a daemon that said why", lambda: said_at_start(host))
        wait_until("its end", lambda: len(host.processes()) <= 1)
        port.send_bytes(data[cut:])
        failure = port.result("load")
        assert port.wait_end() == 1
    assert (failure["action"], failure["error"]["code"]) == ("load", "daemon_unavailable")
    assert answers(port)[:-1] in ([SIGN], [])


def test_a_daemon_that_does_not_start_is_said_to_a_request_too_large_to_be_read_ahead() -> None:
    with BrowserHost(BROKEN_CONFIG) as host, host.port() as port:
        port.send({"id": 7, "action": "generate", "prompt": "x" * 3_000_000})
        assert port.result(7)["error"]["code"] == "daemon_unavailable"
        assert port.wait_end() == 1


@pytest.mark.parametrize(
    "body",
    [
        frame_of({"id": "load", "action": "load", "model": "echo"}),
        frame_of(load_request(stream=False)),
        frame_of(load_request(stream=1)),
        frame_of(load_request(action="ping")),
        frame_of(load_request(id=True)),
        frame_of(load_request(id=2**54)),
        frame_of(load_request(id="x" * 1025)),
        frame_of(load_request(id="\ud83d")),
        frame_of([load_request()]),
        frame_of(load_request(model="x" * 70_000)),
        raw_frame(b"[" * 20_000),
        raw_frame(b'{"action": "load", "stream": true'),
        raw_frame(b"\xff"),
        raw_frame(b""),
    ],
)
def test_whoever_does_not_say_that_it_is_a_port_that_loads_gets_one_message(body: bytes) -> None:
    with BrowserHost(BROKEN_CONFIG) as host, host.port() as port:
        port.send_bytes(body)
        assert port.wait_end() == 1
        assert [one["type"] for one in answers(port)] == ["result"]


@pytest.mark.parametrize("identity", [None, 7, -(2**53), "ünï", "x" * 1024])
def test_the_sign_has_the_requests_id(identity: object) -> None:
    with BrowserHost(BROKEN_CONFIG) as host, host.port() as port:
        port.send(load_request(id=identity))
        assert port.wait(lambda _: True) == {**SIGN, "id": identity}


class FakeDaemon:
    """Listens where relays look for the daemon, and answers hellos as it is told."""

    def __init__(self, host: BrowserHost) -> None:
        (host.home.runtime_dir / runtime.SECRET).write_text("s3cret")  # as a daemon does: before it can be reached
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.bind(str(host.home.runtime_dir / runtime.SOCKET))
        self._socket.listen(1)

    def greet(self, status: str) -> tuple[Json, bytes]:
        """Answer the next hello; the hello, and all that came behind it until the relay closed."""
        link, _ = self._socket.accept()
        with link, link.makefile("rb") as stream:
            (length,) = struct.unpack("=I", stream.read(4))
            hello: Json = json.loads(stream.read(length))
            body = json.dumps({"type": "hello", "status": status, "message": status}, separators=(",", ":"))
            link.sendall(raw_frame(body.encode()))
            return hello, stream.read()

    def wait_hello(self) -> None:
        """Wait for a relay that has connected."""
        assert select.select([self._socket], [], [], 10)[0]

    def close(self) -> None:
        self._socket.close()


def test_what_was_read_ahead_reaches_only_the_daemon_that_greets_and_that_once(unix_host: BrowserHost) -> None:
    data = frame_of(load_request()) + b"and more"
    with held_start(unix_host), unix_host.port() as port:
        port.send_bytes(data)
        wait_read(port)
        with contextlib.closing(FakeDaemon(unix_host)) as daemon:
            hello, behind = daemon.greet("draining")
            assert (hello["origin"], hello["ahead"], behind) == (ORIGIN, len(data), b"")
            port.send_bytes(b" still")
            port.close_stdin()
            hello, behind = daemon.greet("ok")
            assert (hello["ahead"], behind) == (len(data), data + b" still")
        assert answers(port) == [SIGN]


def started(host: BrowserHost) -> bool:
    """Whether any relay has begun to start a daemon."""
    return (host.home.runtime_dir / runtime.START_LOG).exists()


def test_a_relay_that_takes_the_lock_first_looks_for_the_daemon_of_who_had_it_before(unix_host: BrowserHost) -> None:
    """The lock is free again once a daemon answers, which may be after a relay looked and before it took the lock."""
    unix_host.home.runtime_dir.mkdir(mode=0o700)
    with contextlib.closing(FakeDaemon(unix_host)) as daemon, unix_host.port() as port:
        daemon.greet("draining")
        port.close_stdin()
        daemon.greet("ok")
        assert port.wait_end() == 0
    assert not started(unix_host)


def test_a_relay_that_waits_looks_once_more_when_the_lock_is_given_back(unix_host: BrowserHost) -> None:
    with contextlib.ExitStack() as lock:
        lock.enter_context(held_start(unix_host))
        with unix_host.port() as port:
            port.send(load_request())
            wait_read(port)
            with contextlib.closing(FakeDaemon(unix_host)) as daemon:
                daemon.wait_hello()
                lock.close()
                daemon.greet("draining")
                port.close_stdin()
                daemon.greet("ok")
            assert port.wait_end() == 0
    assert not started(unix_host)


def test_a_daemon_that_refuses_is_said_to_the_request_that_was_read(unix_host: BrowserHost) -> None:
    with held_start(unix_host), unix_host.port() as port:
        port.send(load_request())
        wait_read(port)
        with contextlib.closing(FakeDaemon(unix_host)) as daemon:
            assert daemon.greet("refused")[1] == b""
        failure = port.result("load")
        assert (failure["error"]["code"], failure["message"].split(".")[0]) == ("daemon_unavailable", "refused")


def test_a_file_as_standard_input_is_read_ahead_too(unix_host: BrowserHost, tmp_path: Path) -> None:
    file = tmp_path / "requests"
    file.write_bytes(frame_of(load_request()))
    with file.open("rb") as requests:
        done = subprocess.run(
            [unix_host.launcher, ORIGIN],
            check=False,
            stdin=requests,
            capture_output=True,
            env=unix_host.env,
            timeout=20,
        )
    assert done.returncode == 0
    (length,) = struct.unpack("=I", done.stdout[:4])
    assert json.loads(done.stdout[4 : 4 + length]) == SIGN
