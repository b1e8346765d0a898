"""The host on its own stdin and stdout, with no daemon: same messages, and nothing stays behind."""

import json
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.host_home import HostHome
from support.host_process import OTHER_ORIGIN, BrowserHost, Json, Port, frame_of, is_alive, raw_frame

from messages.frames import FrameDecoder, FrameError
from native_host import runtime


@pytest.fixture(scope="module")
def home() -> Iterator[BrowserHost]:
    with BrowserHost() as made:
        yield made


COMMAND = [sys.executable, "-m", "native_host", "stdio"]


def messages_in(data: bytes) -> list[Json]:
    """What frames say that were written whole."""
    decoder = FrameDecoder()
    decoder.feed(data)
    return [json.loads(body) for body in decoder.frames() if not isinstance(body, FrameError)]


def stdio_env(home: BrowserHost) -> dict[str, str]:
    return {**home.env, "PYTHONPATH": runtime.source_root()}


def open_port(home: BrowserHost, *arguments: str) -> Port:
    return Port([*COMMAND, *arguments], stdio_env(home))


@pytest.fixture
def port(home: BrowserHost) -> Iterator[Port]:
    with open_port(home) as opened:
        yield opened


def test_it_streams_an_answer_and_leaves_nothing_behind(home: BrowserHost, port: Port) -> None:
    worker = psutil.Process(port.call("load", model="echo", options={"tokens_per_second": 500})["model"]["pid"])
    request = port.ask("generate", prompt="a b c d e")
    assert port.result(request)["text"] == "a b c d e"
    assert len(port.of(request, "partial")) > 1
    port.close_stdin()
    assert port.wait_end() == 0
    wait_until("the worker's end", lambda: not is_alive(worker))
    assert not home.home.runtime_dir.exists()


def test_what_was_asked_last_is_answered_before_it_leaves(port: Port) -> None:
    port.send({"id": 1, "action": "ping"})
    port.close_stdin()
    assert port.result(1)["response"] == "pong"
    assert port.wait_end() == 0


def test_requests_may_come_from_a_file_and_answers_go_into_one(home: BrowserHost, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    asked = ({"id": 1, "action": "ping"}, {"id": 2, "action": "list_jobs"})
    requests.write_bytes(b"".join(frame_of(one) for one in asked))
    with requests.open("rb") as stdin, answers.open("wb") as stdout:
        subprocess.run(COMMAND, stdin=stdin, stdout=stdout, env=stdio_env(home), cwd="/", check=True, timeout=60)
    assert {one["id"]: one["status"] for one in messages_in(answers.read_bytes())} == {1: "success", 2: "success"}


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1)])
def test_without_a_standard_input_or_output_it_says_what_it_wants(home: BrowserHost, closed: tuple[int, ...]) -> None:
    end = " ".join(f"{descriptor}>&-" for descriptor in closed)
    command = ["sh", "-c", f'exec "$@" {end}', "sh", *COMMAND]
    done = subprocess.run(command, capture_output=True, env=stdio_env(home), cwd="/", check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode().startswith("Requests come on standard input")


def test_it_ends_where_standard_input_cannot_be_read(home: BrowserHost, tmp_path: Path) -> None:
    with (tmp_path / "only to write").open("wb") as stdin:
        subprocess.run(COMMAND, stdin=stdin, env=stdio_env(home), cwd="/", check=True, timeout=60)


def test_one_socket_may_be_both(home: BrowserHost) -> None:
    """So socat and inetd start a program."""
    client, theirs = socket.socketpair()
    both = theirs.fileno()
    with client, subprocess.Popen(COMMAND, stdin=both, stdout=both, env=stdio_env(home), cwd="/") as process:
        theirs.close()
        client.settimeout(60)
        client.sendall(frame_of({"id": 1, "action": "ping"}))
        client.shutdown(socket.SHUT_WR)
        told = b"".join(iter(lambda: client.recv(4096), b""))
        assert (messages_in(told)[0]["id"], process.wait(60)) == (1, 0)


def test_a_client_that_reads_slowly_gets_whole_what_was_answered(home: BrowserHost) -> None:
    """More than a pipe holds, and less than makes the host wait before it answers."""
    asked = frame_of({"id": 1, "action": "ping"}) * 300
    with subprocess.Popen(COMMAND, stdin=PIPE, stdout=PIPE, env=stdio_env(home), cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(asked)
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2)
        assert len(messages_in(process.stdout.read())) == 300


def test_a_long_answer_is_not_cut_off_though_its_client_has_closed_its_end(home: BrowserHost) -> None:
    """It has longer for the rest than an answer has that is still to be begun."""
    load = {"id": 1, "action": "load", "model": "echo"}
    generate = {"id": 2, "action": "generate", "prompt": "🙂" * 500_000, "stream": False}
    with subprocess.Popen(COMMAND, stdin=PIPE, stdout=PIPE, env=stdio_env(home), cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame_of(load) + frame_of(generate))
        process.stdin.flush()
        told = process.stdout.read(100_000)
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        told += process.stdout.read()
    assert messages_in(told)[-1]["last"]


def test_ctrl_c_ends_it_without_a_traceback(home: BrowserHost) -> None:
    with subprocess.Popen(COMMAND, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=stdio_env(home), cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(frame_of({"id": 1, "action": "ping"}))
        process.stdin.flush()
        assert process.stdout.read(4)
        process.send_signal(signal.SIGINT)
        assert (process.wait(10), process.stderr.read()) == (130, b"")


def test_it_ends_when_its_client_no_longer_reads(home: BrowserHost) -> None:
    with subprocess.Popen(COMMAND, stdin=PIPE, stdout=PIPE, env=stdio_env(home), cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame_of({"id": 1, "action": "ping"}))
        process.stdin.flush()
        assert process.stdout.read(4)
        process.stdout.close()
        assert process.wait(10) == 0


def test_a_stop_is_heard_while_it_generates(port: Port) -> None:
    port.call("load", model="echo", options={"prefill_ms": 60_000})
    request = port.ask("generate", prompt="x")
    job = port.accepted(request)
    assert port.call("stop_generation")["stopped_jobs"] == [job]
    assert port.result(request)["finish_reason"] == "cancelled"


def test_it_leaves_though_a_generation_runs(port: Port) -> None:
    port.call("load", model="echo", options={"prefill_ms": 60_000})
    port.accepted(port.ask("generate", prompt="x"))
    port.close_stdin()
    assert port.wait_end(10) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a": NaN}'])
def test_a_bad_message_is_answered_and_the_next_is_read(port: Port, body: bytes) -> None:
    port.send_bytes(raw_frame(body))
    assert port.result(None)["error"]["code"] == "invalid_json"
    assert port.call("ping")["response"] == "pong"


def test_a_message_over_the_limit_is_answered_and_it_leaves(port: Port) -> None:
    port.send_bytes(struct.pack("=I", 64 * 1024 * 1024 + 1))
    assert port.result(None)["error"]["code"] == "frame_too_large"
    assert port.wait_end(10) == 0


def test_a_long_answer_comes_in_chunks(port: Port) -> None:
    port.call("load", model="echo")
    assert port.call("generate", prompt="🙂" * 500_000, stream=False)["text"] == "🙂" * 500_000
    assert max(port.frame_sizes) <= 256 * 1024


def test_whoever_calls_may_say_who_it_is(home: BrowserHost) -> None:
    home.home.write_config(f'[origins]\nblocked = ["{OTHER_ORIGIN}"]\n')
    with open_port(home, OTHER_ORIGIN) as blocked:
        assert blocked.call("ping")["error"]["code"] == "origin_forbidden"
    with open_port(home) as terminal:
        assert terminal.call("ping")["status"] == "success"


def test_a_configuration_that_is_wrong_is_said_on_stderr() -> None:
    home = HostHome()
    home.write_config("[daemon]\nidle_exit_s = 'soon'\n")
    done = home.run("stdio")
    shutil.rmtree(home.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "daemon.idle_exit_s: must be a number" in done.stderr
