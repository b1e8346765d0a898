"""The reference for the HTTP API: llama.cpp's own server, built from llama-cpp-python's source package.

`build_llama_server` builds it. Above it: `http_stream`.
"""

import subprocess
from pathlib import Path
from types import TracebackType

import httpx
from support.browsers.waiting import wait_until
from support.http_host import free_port

from backends.llamacpp import amx
from benchmarks.build_llama_server import BINARY, COMMAND
from benchmarks.transformersjs_reference import ReferenceMissing

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
CONTEXT_TOKENS = 4096


class LlamaServer:
    """A running server with one model; `slots` generations at once."""

    def __init__(self, model: Path, threads: int, slots: int = 1) -> None:
        """Start it. ReferenceMissing if it was not built."""
        if not BINARY.is_file():
            raise ReferenceMissing(f"llama-server is not built; build it with: {COMMAND}")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [str(BINARY), "--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--no-webui"]
        command += ["--threads", str(threads), "--parallel", str(slots), "--ctx-size", str(CONTEXT_TOKENS * slots)]
        if amx.is_broken():  # the same compiler made it
            command.append("--no-repack")
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> "LlamaServer":
        wait_until("llama-server", lambda: self._process.poll() is not None or self._is_ready(), START_TIMEOUT_S)
        if self._process.poll() is not None:
            raise RuntimeError(f"llama-server has ended with {self._process.returncode}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
