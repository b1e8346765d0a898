"""A host started as a browser starts it: a launcher file runs the relay, the daemon lives in a home of its own.

What arrives is checked as the strictest browser would check it: whole frames of at most 1 MiB, strict JSON objects.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from support.browsers.waiting import wait_until
from support.host_home import HostHome

from native_host import runtime
from native_host.reassembly import Reassembler

ORIGIN = "chrome-extension://" + "a" * 32 + "/"
OTHER_ORIGIN = "chrome-extension://" + "b" * 32 + "/"
TIMEOUT_S = 20.0
BROWSER_LIMIT_BYTES = 1024 * 1024

_LAUNCHER = "#!{python} -ISE\nimport sys\nsys.path.insert(0, {source!r})\nfrom native_host.relay import main\nmain()\n"

Json = dict[str, Any]


def frame_of(value: object) -> bytes:
    """A value as a browser would send it."""
    return raw_frame(json.dumps(value).encode())


def raw_frame(body: bytes) -> bytes:
    """A frame whatever its body is."""
    return struct.pack("=I", len(body)) + body


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message (chunks joined) and the monotonic time at which it was read."""

    message: Json
    at: float


class Port:
    """One port to the host: a relay on pipes. A thread reads, so that the order of answers is the test's to ask for."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(env), cwd="/"
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._ids = itertools.count(1)
        self._news = threading.Condition()
        self.arrivals: list[Arrival] = []
        self.frame_sizes: list[int] = []
        self.problem = ""
        self.ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Port":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._stdin.write(data)
        self._stdin.flush()

    def send(self, message: object) -> None:
        """Write one frame."""
        self.send_bytes(frame_of(message))

    def ask(self, action: str, **fields: object) -> str:
        """Send a request and return its id."""
        request_id = f"t{next(self._ids)}"
        self.send({"id": request_id, "action": action, **fields})
        return request_id

    def call(self, action: str, *, timeout: float = TIMEOUT_S, **fields: object) -> Json:
        """Send a request and return its result."""
        return self.result(self.ask(action, **fields), timeout)

    def result(self, request_id: object, timeout: float = TIMEOUT_S) -> Json:
        """The result of a request."""
        return self.wait(lambda message: message.get("id") == request_id and message["type"] == "result", timeout)

    def accepted(self, request_id: object) -> str:
        """The job of a request, once it is accepted."""
        job: str = self.wait(lambda message: message.get("id") == request_id and message["type"] == "accepted")[
            "job_id"
        ]
        return job

    def wait(self, match: Callable[[Json], bool], timeout: float = TIMEOUT_S) -> Json:
        """The first message that matches, arrived or to come."""
        return self.wait_count(match, 1, timeout)[0].message

    def wait_count(self, match: Callable[[Json], bool], count: int, timeout: float = TIMEOUT_S) -> list[Arrival]:
        """The first `count` messages that match, arrived or to come."""
        found: list[Arrival] = []

        def enough() -> bool:
            nonlocal found
            found = [arrival for arrival in list(self.arrivals) if match(arrival.message)]
            return len(found) >= count or self.ended

        with self._news:
            self._news.wait_for(enough, timeout)
        assert not self.problem, self.problem
        if len(found) >= count:
            return found[:count]
        seen = [str(arrival.message)[:200] for arrival in self.arrivals[-5:]]
        raise TimeoutError(f"{len(found)} of {count} messages, {'ended' if self.ended else 'silent'}; last: {seen}")

    def of(self, request_id: object, kind: str | None = None) -> list[Json]:
        """What has arrived for a request, of one type or all."""
        messages = [arrival.message for arrival in list(self.arrivals)]
        return [one for one in messages if one.get("id") == request_id and kind in (None, one["type"])]

    def wait_end(self, timeout: float = TIMEOUT_S) -> int:
        """Wait until the host closes its end and leaves; its exit code."""
        with self._news:
            self._news.wait_for(lambda: self.ended, timeout)
        return self.process.wait(timeout)

    def close_stdin(self) -> None:
        """Close the browser's end, as `port.disconnect()` does."""
        with contextlib.suppress(OSError):
            self._stdin.close()

    def close(self) -> None:
        """Close the port; a relay that does not leave is killed, and that is a failure."""
        self.close_stdin()
        try:
            self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait(5)
            self._reader.join(5)
            for pipe in (self._stdout, self.process.stderr):
                if pipe is not None:
                    pipe.close()
        assert not self.problem, self.problem

    def _read(self) -> None:
        reassembler = Reassembler()
        try:
            for body in _frames(self._stdout.fileno()):
                message = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
                whole = reassembler.add(message)
                with self._news:
                    self.frame_sizes.append(len(body))
                    if whole is not None:
                        self.arrivals.append(Arrival(whole, time.monotonic()))
                    self._news.notify_all()
        except (ValueError, OSError) as error:
            self.problem = f"a browser would have closed this port: {error!r}"
        with self._news:
            self.ended = True
            self._news.notify_all()


class BrowserHost:
    """A home, a launcher in it, and the daemon that the first port starts there.

    `config` is the text of config.toml, `python` and `source` what runs the host, `env` what is added to the
    environment. At the end every process of this home is ended.
    """

    def __init__(
        self,
        config: str = "",
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        source: str | Path | None = None,
    ) -> None:
        self.home = HostHome()
        self.env = {**self.home.env, **(env or {})}
        self.launcher = self.make_launcher("launcher", python, source or runtime.source_root())
        if config:
            self.home.write_config(config)

    def __enter__(self) -> "BrowserHost":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def make_launcher(self, name: str, python: str = sys.executable, source: str | Path = "") -> Path:
        """Write a launcher as the installer does."""
        file = self.home.folder / name
        file.write_text(_LAUNCHER.format(python=python, source=str(source or runtime.source_root())))
        file.chmod(0o755)
        return file

    def port(self, origin: str = ORIGIN, launcher: Path | None = None) -> Port:
        """Open a port, as `connectNative` does."""
        started = str(launcher or self.launcher)
        return Port([sys.executable, "-ISE", started, origin] if os.name == "nt" else [started, origin], self.env)

    def one_shot(self, message: object, origin: str = ORIGIN, timeout: float = TIMEOUT_S) -> Json:
        """Send one message and take the first that comes back, as `sendNativeMessage` does."""
        with self.port(origin) as port:
            port.send(message)
            return port.wait(lambda _: True, timeout)

    @property
    def daemon_pid(self) -> int:
        """The running daemon's process id."""
        return self.home.daemon_pid()

    @property
    def log(self) -> str:
        """The daemon's log so far."""
        return (self.home.log_dir / "daemon.log").read_text(encoding="utf-8")

    def processes(self) -> list[psutil.Process]:
        """Every living process of this home: relays, daemons, workers."""
        mine = str(self.home.runtime_dir)
        return [one for one in psutil.process_iter() if _runtime_dir_of(one) == mine]

    def stop_daemon(self, number: int = signal.SIGTERM) -> None:
        """Send the daemon a signal and wait until it is gone."""
        process = psutil.Process(self.daemon_pid)
        process.send_signal(number)
        wait_until("the daemon's end", lambda: not is_alive(process), TIMEOUT_S)

    def close(self) -> None:
        """End every process of this home, the daemon in good order, and remove the folder."""
        with contextlib.suppress(OSError, ValueError, psutil.Error, TimeoutError):
            if os.name == "nt":
                self.home.run("stop", "--force")
            else:
                os.kill(self.daemon_pid, signal.SIGCONT)
                self.stop_daemon()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        wait_until("the end of every process", lambda: not self.processes(), TIMEOUT_S)
        shutil.rmtree(self.home.folder, ignore_errors=os.name == "nt")


def is_alive(process: psutil.Process) -> bool:
    """True unless the process is gone, or only its entry is left for a parent that does not read it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _runtime_dir_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(runtime.RUNTIME_DIR_VARIABLE) if is_alive(process) else None
    except (psutil.Error, OSError):
        return None


def _frames(descriptor: int) -> Iterator[bytes]:
    while header := _read_exactly(descriptor, 4):
        (length,) = struct.unpack("=I", header)
        if length > BROWSER_LIMIT_BYTES:
            raise ValueError(f"a frame of {length} bytes")
        yield _read_exactly(descriptor, length)


def _read_exactly(descriptor: int, count: int) -> bytes:
    """Read `count` bytes, or none at the end; ValueError if the end comes in between."""
    data = b""
    while len(data) < count:
        piece = os.read(descriptor, count - len(data))
        if not piece and data:
            raise ValueError(f"the host closed in the middle of a frame: {data[:80]!r}")
        if not piece:
            return b""
        data += piece
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
