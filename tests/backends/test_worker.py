"""A worker on its own, spoken to in frames over a socket as the daemon speaks to it."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.browsers.waiting import wait_until
from support.tiny_embedder import make_embedder

from messages.frames import encode, frame
from native_host.runtime import source_root

Json = dict[str, Any]
SETTINGS: Json = {
    "temperature": 0.7,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.0,
    "max_tokens": 100_000,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": None,
    "stop": [],
    "thinking_update_interval": 5.0,
}


class RunningWorker:
    """A worker process and our end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "backends.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": source_root(), "TABAGENT_TEST_FAULTS": "1", "PYTHONUNBUFFERED": "1"},
            )

    def send(self, op: str, ref: int, **fields: object) -> None:
        self.socket.sendall(encode({"op": op, "ref": ref, **fields}))

    def load(self, backend: str = "echo", **options: object) -> Json:
        self.send("load", 1, backend=backend, path="/echo", options=options)
        return self.until("loaded", "failed")[-1]

    def generate(self, ref: int, prompt: str, **settings: object) -> None:
        self.send("generate", ref, prompt={"prompt": prompt}, settings={**SETTINGS, **settings})

    def until(self, *names: str) -> list[Json]:
        """The events up to one of some names."""
        events: list[Json] = []
        while not events or events[-1]["event"] not in names:
            events.append(self.read())
        return events

    def read(self) -> Json:
        (length,) = struct.unpack("=I", self._read_exactly(4))
        event: Json = json.loads(self._read_exactly(length))
        return event

    def end(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        output, _ = self.process.communicate(timeout=20)
        return self.process.returncode, output.decode()

    def _read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data


@pytest.fixture
def worker() -> Iterator[RunningWorker]:
    running = RunningWorker()
    yield running
    running.socket.close()
    running.process.kill()
    running.process.communicate(timeout=20)


def text_of(events: list[Json]) -> str:
    return "".join(event["text"] for event in events if event["event"] == "tokens")


def test_it_loads_generates_and_counts(worker: RunningWorker) -> None:
    loaded = worker.load(context_length=100)
    assert (loaded["event"], loaded["backend_type"], loaded["context_length"]) == ("loaded", "ECHO", 100)
    worker.generate(2, "a b c")
    events = worker.until("ended")
    assert {event["ref"] for event in events} == {2}
    assert text_of(events) == "a b c"
    end = events[-1]
    assert (end["finish_reason"], end["input_tokens"], end["output_tokens"]) == ("stop", 3, 3)
    worker.send("count", 3, prompt={"prompt": "a b"})
    assert worker.read() == {"event": "counted", "ref": 3, "tokens": 2, "context_length": 100}


def test_a_backend_without_embeddings_says_so_and_goes_on(worker: RunningWorker) -> None:
    worker.load()
    worker.send("embed", 2, texts=["a"])
    failed = worker.until("failed")[-1]
    assert (failed["ref"], failed["code"]) == (2, "unsupported_option")
    worker.generate(3, "a b")
    assert text_of(worker.until("ended")) == "a b"


def test_many_vectors_come_in_pieces_that_are_all_there(worker: RunningWorker, tmp_path: Path) -> None:
    worker.send("load", 1, backend="onnx", path=str(make_embedder(tmp_path)), options={})
    assert worker.until("loaded", "failed")[-1]["event"] == "loaded"
    worker.send("embed", 2, texts=["the sun"] * 2500, normalize=True)
    *pieces, last = worker.until("embedded", "failed")
    assert [piece["event"] for piece in pieces] == ["vectors"] * 2
    assert sum(len(piece["vectors"]) for piece in pieces) == 2500
    assert (last["event"], last["dimensions"], last["input_tokens"], last["truncated"]) == ("embedded", 32, 10_000, [])


def test_tokens_that_come_fast_are_gathered_into_few_events(worker: RunningWorker) -> None:
    worker.load()
    worker.generate(2, "w " * 20_000)
    events = [event for event in worker.until("ended") if event["event"] == "tokens"]
    assert sum(event["count"] for event in events) == 20_001
    assert events[0]["count"] == 1
    assert max(event["count"] for event in events) <= 64
    assert len(events) < 1000


def test_a_cancel_is_seen_while_the_engine_works(worker: RunningWorker) -> None:
    worker.load(tokens_per_second=50)
    worker.generate(2, "w " * 10_000)
    worker.until("tokens")
    started = time.monotonic()
    worker.send("cancel", 2)
    end = worker.until("ended")[-1]
    assert time.monotonic() - started < 20
    assert end["finish_reason"] == "cancelled"


def test_a_cancel_of_what_is_over_is_no_error(worker: RunningWorker) -> None:
    worker.load()
    worker.send("cancel", 77)
    worker.generate(2, "a")
    assert worker.until("ended")[-1]["ref"] == 2


def test_a_generation_that_waits_in_the_worker_can_be_cancelled(worker: RunningWorker) -> None:
    worker.load(prefill_ms=100)
    worker.generate(2, "a")
    worker.generate(3, "b")
    worker.send("cancel", 3)
    assert worker.until("ended")[-1]["ref"] == 2
    assert worker.until("ended")[-1] | {"decode_s": None} == {
        "event": "ended",
        "ref": 3,
        "finish_reason": "cancelled",
        "input_tokens": 1,
        "output_tokens": 0,
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "decode_s": None,
        "pictures": [],
    }


@pytest.mark.parametrize("fault", ["raise@5", "panic@5"])
def test_what_came_before_a_failure_is_sent_before_it(worker: RunningWorker, fault: str) -> None:
    worker.load(fault=fault)
    worker.generate(2, "a b c d e f g")
    events = worker.until("failed")
    assert text_of(events) == "a b c d e"
    assert events[-1]["code"] == "internal"
    worker.generate(3, "still here")
    assert text_of(worker.until("ended")) == "still here"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"op": "load", "backend": "ghost", "path": "/x", "options": {}}, "invalid_request"),
        ({"op": "load", "backend": "echo", "path": "/x", "options": {"gpu_layers": 1}}, "unsupported_option"),
        ({"op": "load", "backend": "llamacpp", "path": "/nothing", "options": {}}, "model_not_found"),
        ({"op": "generate", "prompt": {"prompt": "x"}, "settings": SETTINGS}, "model_not_loaded"),
        ({"op": "count", "prompt": {"prompt": "x"}}, "model_not_loaded"),
    ],
)
def test_a_command_that_cannot_be_carried_out_fails_with_its_code(
    worker: RunningWorker, command: Json, code: str
) -> None:
    worker.socket.sendall(encode({"ref": 9, **command}))
    failed = worker.until("failed")[-1]
    assert (failed["ref"], failed["code"]) == (9, code)
    assert worker.load()["event"] == "loaded"


def test_a_response_format_that_the_backend_cannot_do_is_refused(worker: RunningWorker) -> None:
    worker.load()
    worker.send("generate", 2, prompt={"prompt": "x"}, settings=SETTINGS, response_format={"type": "json_object"})
    assert worker.until("failed")[-1]["code"] == "unsupported_option"
    worker.send("generate", 3, prompt={"prompt": "x"}, settings=SETTINGS, response_format={"type": "text"})
    assert worker.until("ended")[-1]["ref"] == 3


def test_what_an_engine_prints_goes_to_its_output_and_not_to_the_socket(worker: RunningWorker) -> None:
    worker.load(fault="print@0")
    worker.generate(2, "a b")
    assert text_of(worker.until("ended")) == "a b"
    worker.socket.close()
    _, output = worker.end()
    assert "engine noise on file descriptor 1" in output


@pytest.mark.parametrize("options", [{}, {"prefill_ms": 60_000}, {"tokens_per_second": 1}, {"tokens_per_second": 500}])
def test_it_leaves_when_the_daemon_does_without_a_complaint(worker: RunningWorker, options: Json) -> None:
    worker.load(**options)
    worker.generate(2, "w " * 100_000)
    worker.until("prefill")
    worker.socket.close()
    assert worker.end() == (0, "")


def test_it_leaves_though_its_engine_hangs(worker: RunningWorker) -> None:
    worker.load(fault="hang@0")
    worker.generate(2, "a")
    worker.until("prefill")
    started = time.monotonic()
    worker.socket.close()
    assert worker.end()[0] == 0
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", frame(b"{"), frame(b'{"op":"dance","ref":1}')])
def test_what_is_no_command_ends_it_with_a_reason_in_its_output(worker: RunningWorker, data: bytes) -> None:
    worker.socket.sendall(data)
    code, output = worker.end()
    assert code == 1
    assert "the worker failed" in output


def test_a_crash_says_where_it_was(worker: RunningWorker) -> None:
    worker.send("load", 1, backend="echo", path="/echo", options={"fault": "segfault@load"})
    code, output = worker.end()
    assert code == -11
    assert "Segmentation fault" in output
    assert "backends/faults.py" in output


def test_a_leak_is_seen_from_outside(worker: RunningWorker) -> None:
    worker.load(fault="leak@0")
    before = resident(worker.process.pid)
    for ref in range(2, 8):
        worker.generate(ref, "a")
        worker.until("ended")
    wait_until("a larger worker", lambda: resident(worker.process.pid) - before > 80_000_000)


def resident(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
