"""Starting the host the way a browser does, and letting it speak.

A browser starts the manifest's program with the extension's origin as argument, the host's folder as working
directory and its own environment, and exchanges frames over pipes: a length of four bytes in native order, then JSON.
"""

import contextlib
import json
import queue
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from installer.errors import InstallError

LENGTH = struct.Struct("=I")
REPLY_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 5.0
LAST_WORDS_S = 0.5
QUESTION = "What are you?"


@dataclass(frozen=True)
class Proof:
    """What was seen. Times in seconds; `tokens` are the engine's own."""

    version: str
    first_reply_s: float
    load_s: float
    first_text_s: float
    text: str
    tokens: int | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class Watcher:
    """Who is told as it happens."""

    on_stage: Callable[[str], None]
    on_text: Callable[[str], None]


class HostProcess:
    """A running host with a pipe each way."""

    def __init__(self, launcher: Path, origin: str) -> None:
        """Start it.

        Args:
            launcher: the program that the manifest names.
            origin: `chrome-extension://<id>/`.

        Raises:
            InstallError: the system would not start it.
        """
        try:
            self._process = subprocess.Popen(
                [str(launcher), origin],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=launcher.parent,
            )
        except OSError as error:
            raise InstallError(
                f"{launcher} does not start: {error.strerror or error}.", "Run install.py again."
            ) from error
        self._frames: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._errors = bytearray()
        self._threads = [
            threading.Thread(target=self._read_frames, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_errors, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "HostProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_frames(self, pipe: IO[bytes]) -> None:
        while len(header := pipe.read(LENGTH.size)) == LENGTH.size:
            (length,) = LENGTH.unpack(header)
            try:
                self._frames.put(json.loads(pipe.read(length)))
            except ValueError:
                break
        self._frames.put(None)

    def _read_errors(self, pipe: IO[bytes]) -> None:
        while block := pipe.read1(65536):  # type: ignore[attr-defined]
            self._errors[:] = (self._errors + block)[-4096:]

    def send(self, message: dict[str, Any]) -> None:
        """Send one request.

        Raises:
            InstallError: the host is gone.
        """
        body = json.dumps(message).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(body)) + body)
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure("the host closed its pipe") from error

    def receive(self, timeout_s: float = REPLY_TIMEOUT_S) -> dict[str, Any]:
        """The next message.

        Raises:
            InstallError: the host ended, wrote something that is no frame, or was silent for `timeout_s`.
        """
        try:
            message = self._frames.get(timeout=timeout_s)
        except queue.Empty:
            raise self._failure(f"the host said nothing for {timeout_s:.0f} s") from None
        if message is None:
            raise self._failure("the host ended or wrote something that is not a frame")
        return message

    def call(self, message: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield all that answers it, its `result` last.

        Raises:
            InstallError: the host failed, or the result is an error.
        """
        self.send(message)
        while True:
            reply = self.receive()
            if reply.get("id") != message["id"]:
                continue
            if reply.get("status") == "error":
                code = reply.get("error", {}).get("code", "internal")
                raise InstallError(f"It answered {message['action']} with {code}: {reply.get('message')}")
            yield reply
            if reply.get("type") == "result":
                return

    def _failure(self, what: str) -> InstallError:
        """What went wrong, with what the host wrote to its stderr; if it has ended, all of that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
            self._threads[1].join(LAST_WORDS_S)
        said = self._errors.decode("utf-8", "replace").strip()
        return InstallError(f"While it was being started or asked, {what}." + (f"\nIt wrote:\n{said}" if said else ""))

    def close(self) -> None:
        """Close the pipe, as a browser does, and wait; kill it if it does not leave."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(EXIT_TIMEOUT_S)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()


def prove(launcher: Path, origin: str, watcher: Watcher, model: str = "demo", backend: str = "auto") -> Proof:
    """Ping the host, load a model and stream an answer.

    Raises:
        InstallError: any of that failed; the message says which and what the host said.
    """
    begun = time.monotonic()
    with HostProcess(launcher, origin) as host:
        watcher.on_stage("starting the host")
        pong = _result(host.call({"id": 1, "action": "ping"}))
        replied = time.monotonic()
        watcher.on_stage(f"loading the model {model}")
        _result(host.call({"id": 2, "action": "load", "model": model, "backend": backend, "stream": True}))
        loaded = time.monotonic()
        watcher.on_stage("asking it a question")
        request = {
            "id": 3,
            "action": "generate",
            "model": model,
            "messages": [{"role": "user", "content": QUESTION}],
            "settings": {"temperature": 0, "max_tokens": 120},
            "stream": True,
        }
        text, first, result = _stream(host.call(request), watcher.on_text)
    if not text.strip():
        raise InstallError("The host answered, but with no text.", "Run: tabagent-host doctor")
    stats = result.get("stats") or {}
    return Proof(
        str(pong.get("version", "?")),
        replied - begun,
        loaded - replied,
        (first or time.monotonic()) - loaded,
        text,
        stats.get("output_tokens"),
        stats.get("tokens_per_second"),
    )


def _result(replies: Iterator[dict[str, Any]]) -> dict[str, Any]:
    return list(replies)[-1]


def _stream(
    replies: Iterator[dict[str, Any]], on_text: Callable[[str], None]
) -> tuple[str, float | None, dict[str, Any]]:
    text, first, last = "", None, {}
    for last in replies:
        if last.get("type") == "partial" and last.get("text"):
            first = first or time.monotonic()
            text += last["text"]
            on_text(last["text"])
    return text, first, last
