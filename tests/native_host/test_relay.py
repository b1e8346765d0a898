"""The relay as a browser starts it: finds or starts the one daemon, copies frames, never outlives the browser."""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_process import ORIGIN, BrowserHost, Port, frame_of, is_alive

from native_host import runtime
from native_host.relay import hello, origin_of

ADDON = "native-host@tabagent.dev"


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        made.one_shot({"action": "ping"})
        yield made


@pytest.fixture
def own_host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


@pytest.fixture(params=["unix", "tcp"])
def either_host(request: pytest.FixtureRequest) -> Iterator[BrowserHost]:
    """A host whose daemon takes over the browser's pipes, and one whose relay copies."""
    with BrowserHost(env={runtime.TRANSPORT_VARIABLE: request.param}) as made:
        yield made


@pytest.mark.parametrize(
    ("arguments", "origin"),
    [
        ([], "cli"),
        (["cli"], "cli"),
        ([ORIGIN], ORIGIN),
        ([ORIGIN, "--parent-window=1234"], ORIGIN),
        (["/home/you/.mozilla/native-messaging-hosts/com.tabagent.native_host.json", ADDON], ADDON),
    ],
)
def test_who_calls_is_what_the_browser_passed(arguments: list[str], origin: str) -> None:
    assert origin_of(arguments) == origin


@pytest.mark.parametrize("origin", [ORIGIN, ADDON, 'quo"te', "back\\slash", "ünïcode", "new\nline"])
def test_the_hello_is_one_frame_of_json_whatever_the_origin_is(origin: str) -> None:
    data = hello(origin, "s3cret")
    assert struct.unpack("=I", data[:4]) == (len(data) - 4,)
    said = json.loads(data[4:])
    assert (said["type"], said["origin"], said["secret"]) == ("hello", origin, "s3cret")
    assert (said["pid"], said["version"], said["protocol"]) == (os.getpid(), runtime.VERSION, runtime.PROTOCOL)


def test_the_first_relay_starts_the_daemon_and_the_next_finds_it(own_host: BrowserHost) -> None:
    first = own_host.one_shot({"id": 1, "action": "ping"})
    second = own_host.one_shot({"id": 2, "action": "ping"})
    assert first["pid"] == second["pid"] == own_host.daemon_pid


def test_twenty_relays_that_race_start_one_daemon(own_host: BrowserHost) -> None:
    ports = [own_host.port() for _ in range(20)]
    for port in ports:
        port.send({"id": 1, "action": "ping"})
    pids = {port.result(1, 60)["pid"] for port in ports}
    for port in ports:
        port.close()
    assert pids == {own_host.daemon_pid}
    daemons = [one for one in own_host.processes() if "daemon" in one.cmdline()]
    assert [one.pid for one in daemons] == [own_host.daemon_pid]


def test_a_stale_socket_file_is_replaced(own_host: BrowserHost) -> None:
    own_host.one_shot({"action": "ping"})
    own_host.stop_daemon(signal.SIGKILL)
    assert (own_host.home.runtime_dir / runtime.SOCKET).exists()
    stale = own_host.daemon_pid
    assert own_host.one_shot({"id": 1, "action": "ping"})["status"] == "success"
    assert own_host.daemon_pid != stale


def test_a_file_in_the_place_of_the_socket_is_replaced(own_host: BrowserHost) -> None:
    own_host.home.runtime_dir.mkdir(mode=0o700)
    (own_host.home.runtime_dir / runtime.SOCKET).write_text("not a socket")
    assert own_host.one_shot({"id": 1, "action": "ping"})["status"] == "success"


def test_the_daemon_inherits_nothing_of_the_browsers(host: BrowserHost) -> None:
    daemon = psutil.Process(host.daemon_pid)
    descriptors = [os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in (0, 1, 2)]
    log = str(host.home.runtime_dir / runtime.START_LOG)
    assert descriptors == ["/dev/null", log, log]
    assert os.getsid(daemon.pid) == daemon.pid


def test_the_daemon_inherits_no_file_that_the_browser_left_open_for_its_relay(own_host: BrowserHost) -> None:
    reader, writer = os.pipe()
    with (
        open(reader, "rb") as browsers,
        subprocess.Popen(
            [own_host.launcher, ORIGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=own_host.env,
            pass_fds=[writer],
        ) as relay,
    ):
        os.close(writer)
        assert relay.stdin is not None
        assert relay.stdout is not None
        relay.stdin.write(frame_of({"id": 1, "action": "ping"}))
        relay.stdin.flush()
        assert relay.stdout.read(4)
        assert os.readlink(f"/proc/self/fd/{reader}") in held_by(relay.pid)
        assert os.readlink(f"/proc/self/fd/{reader}") not in held_by(own_host.daemon_pid)
        relay.kill()
        assert select.select([browsers], [], [], 5)[0]


def held_by(pid: int) -> set[str]:
    """What a process has open, by the kernel's names; a descriptor that closes meanwhile is left out."""
    held = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(os.readlink(entry))
    return held


def test_the_daemon_takes_over_the_browsers_pipes_and_lets_them_go_with_the_port(host: BrowserHost) -> None:
    with host.port() as port:
        port.call("ping")
        assert port.process.stdout is not None
        pipes = {os.readlink(f"/proc/{port.process.pid}/fd/0"), os.readlink(f"/dev/fd/{port.process.stdout.fileno()}")}
        assert pipes <= held_by(host.daemon_pid)
    wait_until("the pipes closed", lambda: not pipes & held_by(host.daemon_pid))


def test_the_browser_sees_the_end_when_the_relay_is_killed(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        port.process.kill()
        assert port.wait_end(3) == -signal.SIGKILL


def test_a_relay_whose_standard_input_is_no_pipe_copies(host: BrowserHost) -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [host.launcher, ORIGIN], stdin=theirs.fileno(), stdout=theirs.fileno(), env=host.env
        ) as process,
    ):
        theirs.close()
        ours.settimeout(10)
        ours.sendall(frame_of({"id": 1, "action": "ping"}))
        (length,) = struct.unpack("=I", ours.recv(4, socket.MSG_WAITALL))
        assert json.loads(ours.recv(length, socket.MSG_WAITALL))["response"] == "pong"
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(5) == 0


def test_standard_output_is_kept_for_frames_whoever_prints(host: BrowserHost) -> None:
    noisy = host.home.folder / "noisy"
    noisy.write_text(
        f"#!{sys.executable} -ISE\nimport os, sys\nsys.path.insert(0, {runtime.source_root()!r})\n"
        "from native_host import relay\nconnect = relay.connect_or_start\n"
        "def noise(*arguments):\n    os.write(1, b'noise')\n    print('more noise', flush=True)\n"
        "    return connect(*arguments)\nrelay.connect_or_start = noise\nrelay.main()\n"
    )
    noisy.chmod(0o755)
    with host.port(launcher=noisy) as port:
        assert port.call("ping")["response"] == "pong"
        port.close_stdin()
        assert port.process.stderr is not None
        assert b"noisemore noise\n" in port.process.stderr.read()


def test_the_relay_leaves_when_the_browser_closes(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        assert leaving_time(port) < 1.0


def test_the_relay_leaves_when_the_browser_closes_though_a_generation_runs(either_host: BrowserHost) -> None:
    with either_host.port() as other, either_host.port() as port:
        other.call("load", model="slow", backend="echo", options={"tokens_per_second": 5})
        port.accepted(port.ask("generate", model="slow", prompt="word " * 100))
        assert leaving_time(port) < 1.5
        other.call("unload", model="slow")


def test_an_answer_that_is_ready_at_once_still_arrives_after_the_browser_closed_its_end(
    either_host: BrowserHost,
) -> None:
    with either_host.port() as port:
        port.send({"id": 1, "action": "ping"})
        port.close_stdin()
        assert port.result(1)["response"] == "pong"


def test_the_relay_leaves_when_the_daemon_is_killed(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        either_host.stop_daemon(signal.SIGKILL)
        assert port.wait_end(5) == 0


def test_the_daemon_says_that_it_stops_and_the_relay_leaves(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        either_host.stop_daemon()
        assert port.wait_end(5) == 0
        event = port.wait(lambda message: message["type"] == "event")
        assert (event["id"], event["event"], event["reason"]) == (None, "daemon_stopping", "stopped")


def test_the_relay_leaves_within_a_second_though_the_daemon_hangs(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        psutil.Process(either_host.daemon_pid).suspend()
        assert leaving_time(port) < 1.5


def test_the_relay_leaves_though_the_daemon_hangs_and_much_waits_to_be_sent(either_host: BrowserHost) -> None:
    with either_host.port() as port:
        port.call("ping")
        psutil.Process(either_host.daemon_pid).suspend()
        fill(port)
        assert leaving_time(port) < 2.0


def test_the_relay_leaves_though_the_daemon_hangs_before_it_greets(own_host: BrowserHost) -> None:
    own_host.one_shot({"action": "ping"})
    psutil.Process(own_host.daemon_pid).suspend()
    with own_host.port() as port:
        port.send({"id": 1, "action": "ping"})
        assert leaving_time(port) < 2.0


def fill(port: Port) -> None:
    """Write until the relay has taken no more for a while."""
    assert port.process.stdin is not None
    descriptor = port.process.stdin.fileno()
    os.set_blocking(descriptor, False)
    refusals = 0

    def is_full() -> bool:
        nonlocal refusals
        refusals = 0 if write_some(descriptor) else refusals + 1
        return refusals == 10

    wait_until("a relay that takes no more", is_full)


def write_some(descriptor: int) -> int:
    """Write what can be written now, at most 6.4 MB; the number of bytes."""
    written = 0
    with contextlib.suppress(BlockingIOError):
        for _ in range(100):
            written += os.write(descriptor, b" " * 65_536)
    return written


def leaving_time(port: Port) -> float:
    """Seconds from the browser's closing to the relay's end."""
    relay = psutil.Process(port.process.pid)
    port.close_stdin()
    closed = time.monotonic()
    wait_until("the relay's end", lambda: not is_alive(relay), 10)
    return time.monotonic() - closed


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_a_message_over_the_limit_is_answered_however_much_follows(transport: str) -> None:
    with BrowserHost("[daemon]\nmax_frame_bytes = 65536\n", env={"TABAGENT_TRANSPORT": transport}) as host:
        for _ in range(5):
            with host.port() as port:
                with contextlib.suppress(BrokenPipeError):
                    port.send_bytes(struct.pack("=I", 65_537) + b"x" * (8 << 20))
                assert port.wait_end() == 0
                answer = port.wait(lambda message: message["type"] == "result")
                assert (answer["id"], answer["error"]["code"]) == (None, "frame_too_large")


def test_the_daemon_is_reached_over_loopback_tcp_where_that_is_asked_for() -> None:
    with BrowserHost(env={"TABAGENT_TRANSPORT": "tcp"}) as host, host.port() as port:
        assert port.call("load", model="echo")["status"] == "success"
        assert port.call("generate", prompt="over tcp")["text"] == "over tcp"
        assert not (host.home.runtime_dir / runtime.SOCKET).exists()


def test_a_daemon_that_cannot_start_is_said_to_the_first_request_with_its_reason() -> None:
    with BrowserHost("[daemon]\nidle_exit_s = -1\n") as host, host.port() as port:
        answer = port.call("ping")
        assert port.wait_end() == 1
    assert answer["action"] == "ping"
    assert answer["error"]["code"] == "daemon_unavailable"
    assert "config.toml" in answer["message"]
    assert "daemon.idle_exit_s: must be >= 0" in answer["message"]
    assert answer["error"]["details"]["log"] == str(host.home.runtime_dir / runtime.START_LOG)
    assert answer["error"]["details"]["log"] in answer["message"]


@pytest.mark.parametrize("first", [frame_of([1]), struct.pack("=I", 5) + b"{{{{{", struct.pack("=I", 0)])
def test_a_daemon_that_cannot_start_is_said_though_the_request_cannot_be_read(first: bytes) -> None:
    with BrowserHost("what is this\n") as host, host.port() as port:
        port.send_bytes(first)
        answer = port.wait(lambda message: message["type"] == "result")
        assert port.wait_end() == 1
    assert (answer["id"], answer["action"], answer["error"]["code"]) == (None, None, "daemon_unavailable")
    assert "not valid TOML" in answer["message"]


def test_a_runtime_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "run")
    with BrowserHost(env={runtime.RUNTIME_DIR_VARIABLE: folder}) as host, host.port() as port:
        answer = port.call("ping")
    assert answer["error"]["code"] == "daemon_unavailable"
    assert folder in answer["message"]
    assert "Not a directory" in answer["message"]


def test_a_runtime_folder_of_too_long_a_path_is_said(tmp_path: Path) -> None:
    folder = str(tmp_path / ("x" * 120))
    with BrowserHost(env={runtime.RUNTIME_DIR_VARIABLE: folder}) as host, host.port() as port:
        answer = port.call("ping")
    assert answer["error"]["code"] == "daemon_unavailable"
    assert runtime.RUNTIME_DIR_VARIABLE in answer["message"]


def test_a_start_log_that_cannot_be_opened_is_said(own_host: BrowserHost) -> None:
    (own_host.home.runtime_dir / runtime.START_LOG).mkdir(parents=True)
    answer = own_host.one_shot({"id": 1, "action": "ping"})
    assert answer["error"]["code"] == "daemon_unavailable"
    assert "cannot be used (Is a directory: start.log)" in answer["message"]


def test_a_disk_on_which_the_daemon_can_write_no_word_is_said() -> None:
    with BrowserHost() as host:
        limited = host.home.folder / "limited"
        limited.write_text(f'#!/bin/sh\nulimit -f 0\nexec {host.launcher} "$@"\n')
        limited.chmod(0o755)
        with host.port(launcher=limited) as port:
            answer = port.call("ping")
        assert answer["error"]["code"] == "daemon_unavailable"
        assert f"the folder {host.home.runtime_dir} cannot be written (File too large)" in answer["message"]
        assert not list(host.home.runtime_dir.glob(f"{runtime.SECRET}.*"))
        assert host.one_shot({"action": "ping"})["status"] == "success"


def test_a_daemon_that_refuses_is_said_with_its_reason(host: BrowserHost) -> None:
    with host.port(origin="https://example.org/") as port:
        answer = port.call("ping")
    assert answer["error"]["code"] == "daemon_unavailable"
    assert answer["message"].startswith(
        "'https://example.org/' is not an extension's origin. Run `tabagent-host doctor`"
    )


def test_a_socket_that_nobody_listens_on_is_replaced(own_host: BrowserHost) -> None:
    own_host.home.runtime_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(own_host.home.runtime_dir / runtime.SOCKET))
        other.listen(1)
        other.close()
        assert own_host.one_shot({"id": 1, "action": "ping"})["status"] == "success"


def test_what_a_browsers_package_tells_its_own_python_is_not_heeded(tmp_path: Path) -> None:
    (tmp_path / "asyncio.py").write_text("raise SystemExit('not meant for us')\n")
    theirs = {"PYTHONHOME": "/nowhere", "PYTHONPATH": str(tmp_path), "PYTHONINSPECT": "1"}
    with BrowserHost(env=theirs) as host, host.port() as port:
        assert port.call("load", model="echo")["status"] == "success"
        daemon = psutil.Process(host.daemon_pid).environ()
        assert {name for name in daemon if name.startswith("PYTHON")} == {"PYTHONPATH"}
