"""The daemon: one for each user, serving only that user, surviving a bad disk, leaving when it is not needed."""

import json
import os
import shutil
import socket
import sqlite3
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_process import ORIGIN, BrowserHost, Json, frame_of, is_alive, raw_frame

from native_host import runtime

PACKAGES = ("messages", "backends", "native_host", "manifests", "installer")


@pytest.fixture(scope="module")
def host() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        made.one_shot({"action": "ping"})
        yield made


@pytest.fixture
def knocking(host: BrowserHost) -> Iterator[socket.socket]:
    """A socket to the daemon that has not said hello."""
    with socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(10)
        opened.connect(str(host.home.runtime_dir / runtime.SOCKET))
        yield opened


def read_to_end(connection: socket.socket) -> list[Json]:
    """The messages until the daemon closes."""
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    messages = []
    while data:
        (length,) = struct.unpack("=I", data[:4])
        messages.append(json.loads(data[4 : 4 + length]))
        data = data[4 + length :]
    return messages


def hello_of(host: BrowserHost, **changes: Any) -> Json:
    secret = (host.home.runtime_dir / runtime.SECRET).read_text()
    plain = {"origin": ORIGIN, "pid": os.getpid(), "version": runtime.VERSION, "protocol": 1, "secret": secret}
    return {"type": "hello", **plain, **changes}


def test_its_folder_and_secret_are_the_users_alone(host: BrowserHost) -> None:
    folder = host.home.runtime_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / runtime.SECRET).stat().st_mode) == 0o600
    assert len((folder / runtime.SECRET).read_text()) == 64


def test_a_folder_that_others_may_enter_is_closed_to_them() -> None:
    with BrowserHost() as host:
        host.home.runtime_dir.mkdir()
        host.home.runtime_dir.chmod(0o777)
        assert host.one_shot({"action": "ping"})["status"] == "success"
        assert stat.S_IMODE(host.home.runtime_dir.stat().st_mode) == 0o700


def test_its_facts_say_who_it_is(host: BrowserHost) -> None:
    facts = json.loads((host.home.runtime_dir / runtime.DAEMON_FACTS).read_text())
    assert (facts["version"], facts["protocol"]) == (runtime.VERSION, runtime.PROTOCOL)
    assert psutil.pid_exists(facts["pid"])
    assert abs(time.time() - facts["started"]) < 120


def test_a_hello_with_the_secret_is_served(host: BrowserHost, knocking: socket.socket) -> None:
    knocking.sendall(frame_of(hello_of(host)) + frame_of({"id": 1, "action": "ping"}))
    knocking.shutdown(socket.SHUT_WR)
    greeting, pong = read_to_end(knocking)
    assert (greeting["status"], pong["response"]) == ("ok", "pong")


@pytest.mark.parametrize("secret", ["", "x", "0" * 64, "ü" * 64, None, 5])
def test_a_hello_without_the_secret_is_refused_and_the_connection_closed(
    host: BrowserHost, knocking: socket.socket, secret: object
) -> None:
    knocking.sendall(frame_of(hello_of(host, secret=secret)))
    (greeting,) = read_to_end(knocking)
    assert greeting["status"] == "refused"
    assert "secret" in greeting["message"]


@pytest.mark.parametrize(
    "origin", ["", "https://example.org", "chrome-extension://xyz/", "file:///", ORIGIN + "page.html", "\x00", None]
)
def test_a_hello_from_what_is_no_extension_is_refused(
    host: BrowserHost, knocking: socket.socket, origin: object
) -> None:
    knocking.sendall(frame_of(hello_of(host, origin=origin)))
    (greeting,) = read_to_end(knocking)
    assert greeting["status"] == "refused"


@pytest.mark.parametrize(
    "first", [frame_of({"id": 1, "action": "ping"}), raw_frame(b"{"), raw_frame(b""), b"\xff\xff\xff\xff"]
)
def test_a_first_message_that_is_no_hello_is_refused_and_nothing_is_answered(
    knocking: socket.socket, first: bytes
) -> None:
    knocking.sendall(first)
    assert "pong" not in json.dumps(read_to_end(knocking))


def test_more_ports_than_are_allowed_are_refused_with_the_reason() -> None:
    with BrowserHost("[daemon]\nmax_clients = 2\n") as host, host.port() as first, host.port() as second:
        assert (first.call("ping")["status"], second.call("ping")["status"]) == ("success", "success")
        answer = host.one_shot({"id": 1, "action": "ping"})
        assert answer["error"]["code"] == "daemon_unavailable"
        assert "2 ports are open already" in answer["message"]


def test_one_port_alone_is_told_as_one() -> None:
    with BrowserHost("[daemon]\nmax_clients = 1\n") as host, host.port() as port:
        assert port.call("ping")["status"] == "success"
        assert "1 port is open already" in host.one_shot({"id": 1, "action": "ping"})["message"]


def test_it_leaves_when_it_is_idle_and_the_next_relay_starts_another() -> None:
    with BrowserHost("[daemon]\nidle_exit_s = 0.5\n[models]\nkeep_alive_s = 0.2\n") as host:
        with host.port() as port:
            port.call("load", model="echo")
            first = psutil.Process(host.daemon_pid)
            port.wait(lambda message: message.get("event") == "model_unloaded")
            assert is_alive(first)
        wait_until("the idle daemon's end", lambda: not is_alive(first), 10)
        assert not (host.home.runtime_dir / runtime.SOCKET).exists()
        assert host.one_shot({"id": 1, "action": "ping"})["pid"] != first.pid


def test_it_stays_while_a_model_is_loaded_or_a_job_runs() -> None:
    with BrowserHost("[daemon]\nidle_exit_s = 0.1\n") as host:
        host.one_shot({"action": "load", "model": "echo", "options": {"tokens_per_second": 20}})
        daemon = host.daemon_pid
        job = host.one_shot({"action": "generate", "prompt": "a b c d e f g h i j", "background": True})["job_id"]
        read = host.one_shot({"action": "read_job", "job_id": job, "cursor": 9, "wait_ms": 5000})
        assert read["tokens"] == 10
        assert host.daemon_pid == daemon


def test_a_stop_ends_its_workers_too() -> None:
    with BrowserHost() as host:
        host.one_shot({"action": "load", "model": "echo"})
        assert len(host.processes()) == 2
        host.stop_daemon()
        wait_until("the end of every process", lambda: host.processes() == [])


def test_a_kill_ends_its_workers_too() -> None:
    with BrowserHost() as host:
        host.one_shot({"action": "load", "model": "echo", "options": {"prefill_ms": 60_000}})
        host.one_shot({"action": "generate", "prompt": "x"})
        os.kill(host.daemon_pid, 9)
        wait_until("the end of every process", lambda: host.processes() == [])


def test_a_newer_relay_makes_an_older_daemon_finish_its_work_and_leave(tmp_path: Path) -> None:
    newer = copy_of_the_source(tmp_path, "99.0.0")
    with BrowserHost() as host, host.port() as old_port:
        old_port.call("load", model="echo", options={"tokens_per_second": 20})
        request = old_port.ask("generate", prompt="a b c d e f g h i j k l m n o p")
        old_port.accepted(request)
        old = psutil.Process(host.daemon_pid)
        with host.port(launcher=host.make_launcher("newer", source=newer)) as new_port:
            pong = new_port.call("ping")
            assert (pong["version"], pong["pid"]) == ("99.0.0", host.daemon_pid)
            assert pong["pid"] != old.pid
            event = old_port.wait(lambda message: message["type"] == "event")
            assert event["event"] == "daemon_stopping"
            assert old_port.result(request)["text"] == "a b c d e f g h i j k l m n o p"
            old_port.close()
            wait_until("the old daemon's end", lambda: not is_alive(old), 10)
            assert new_port.call("ping")["pid"] == pong["pid"]
        assert host.one_shot({"id": 1, "action": "ping"})["version"] == "99.0.0"


def copy_of_the_source(folder: Path, version: str) -> Path:
    """The host with another version number."""
    root = Path(runtime.source_root())
    for name in PACKAGES:
        if name != "native_host":
            (folder / name).symlink_to(root / name)
    shutil.copytree(root / "native_host", folder / "native_host", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "native_host" / "runtime.py"
    file.write_text(file.read_text().replace(f'VERSION = "{runtime.VERSION}"', f'VERSION = "{version}"'))
    return folder


def generate_once(host: BrowserHost) -> Json:
    """Load, generate and ask for the figures, all of which must go well."""
    with host.port() as port:
        assert port.call("load", model="echo")["status"] == "success"
        assert port.call("generate", prompt="a b c")["text"] == "a b c"
        stats = port.call("get_stats")
        assert (stats["status"], stats["output_tokens"]) == ("success", 3)
    return stats


def test_figures_are_kept_across_restarts() -> None:
    with BrowserHost() as host:
        assert generate_once(host)["aggregate"]["count"] == 1
        host.stop_daemon()
        with host.port() as port:
            kept = port.call("get_stats")
        assert (kept["aggregate"]["count"], kept["aggregate"]["output_tokens"]) == (1, 3)
        assert kept["by_backend"]["ECHO"]["succeeded"] == 1
        assert kept["output_tokens"] is None
        assert generate_once(host)["aggregate"]["count"] == 2


def test_a_corrupt_statistics_file_is_begun_anew() -> None:
    with BrowserHost() as host:
        host.home.data_dir.mkdir()
        (host.home.data_dir / "stats.sqlite3").write_bytes(b"this is no database" * 500)
        assert generate_once(host)["aggregate"]["count"] == 1
        host.stop_daemon()
        with sqlite3.connect(host.home.data_dir / "stats.sqlite3") as database:
            (count,) = database.execute("SELECT count(*) FROM generations").fetchone()
        database.close()
        assert count == 1


def test_a_full_disk_for_logs_and_statistics_stops_nothing() -> None:
    with BrowserHost() as host:
        for folder, name in ((host.home.log_dir, "daemon.log"), (host.home.data_dir, "stats.sqlite3")):
            folder.mkdir()
            (folder / name).symlink_to("/dev/full")
        assert generate_once(host)["aggregate"]["count"] == 1
        said = (host.home.runtime_dir / runtime.START_LOG).read_text()
        assert "No space left on device" in said


def test_a_home_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file" / "home")
    places = {f"TABAGENT_{name}_DIR": "" for name in ("DATA", "CONFIG", "LOG")}
    with BrowserHost(env={"HOME": home, **places}) as host:
        assert generate_once(host)["aggregate"]["count"] == 1
        assert [model["model"] for model in host.one_shot({"action": "list_models"})["models"]] == [
            "demo",
            "demo-vision",
        ]


def test_the_demo_is_served_from_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file" / "home")
    places = {f"TABAGENT_{name}_DIR": "" for name in ("DATA", "CONFIG", "LOG")}
    with BrowserHost(env={"HOME": home, **places}) as host, host.port() as port:
        for backend in ("llamacpp", "onnx"):
            assert port.call("load", model="demo", backend=backend)["status"] == "success"
            answer = port.call("generate", prompt="Hi", settings={"max_tokens": 3})
            assert (answer["status"], answer["stats"]["output_tokens"]) == ("success", 3)
            port.call("unload")


def test_a_daemon_that_leaves_in_mid_generation_leaves_no_traceback() -> None:
    with BrowserHost() as host, host.port() as port:
        port.call("load", model="echo", options={"tokens_per_second": 20})
        request = port.ask("generate", prompt="word " * 1000)
        port.wait(lambda message: message.get("id") == request and message["type"] == "partial")
        host.stop_daemon()
        assert "leaving" in host.log
        assert "Traceback" not in host.log


def test_how_a_worker_ended_is_known_though_whoever_started_all_this_ignores_such_ends() -> None:
    with BrowserHost() as host:
        launcher = host.make_launcher("ignoring")
        ignoring = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nimport sys\n"
        launcher.write_text(launcher.read_text().replace("import sys\n", ignoring))
        with host.port(launcher=launcher) as port:
            worker = port.call("load", model="echo", options={"prefill_ms": 60_000})["model"]["pid"]
            request = port.ask("generate", prompt="x")
            port.accepted(request)
            os.kill(worker, 9)
            assert port.result(request)["error"]["details"]["signal"] == "SIGKILL"
