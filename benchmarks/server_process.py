"""A server in a process of its own, ready once `GET /health` is answered. Above it: `http_stream`, `llama_server`."""

import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import httpx
from support.browsers.waiting import wait_until
from support.http_host import free_port

from benchmarks.hosts import REPOSITORY

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class ServerProcess:
    """The server, seen from here; `url` is its address. What it prints is dropped."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start `command` with `--port` and a free one behind it."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._name = command[0]
        self._process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        wait_until(self._name, lambda: self._process.poll() is not None or self._is_ready(), START_TIMEOUT_S)
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._name} has ended with {self._process.returncode}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # llama-server does not always end
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
