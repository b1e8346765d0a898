"""The reference for the HTTP API: llama.cpp's own server, built from llama-cpp-python's source package.

`build_llama_server` builds it. Above it: `http_stream`. Below it: `server_process`.
"""

from pathlib import Path

from backends.llamacpp import amx
from benchmarks.build_llama_server import BINARY, COMMAND
from benchmarks.server_process import ServerProcess
from benchmarks.transformersjs_reference import ReferenceMissing

CONTEXT_TOKENS = 4096


class LlamaServer(ServerProcess):
    """A running server with one model; `slots` generations at once."""

    def __init__(self, model: Path, threads: int, slots: int = 1) -> None:
        """Start it. ReferenceMissing if it was not built."""
        if not BINARY.is_file():
            raise ReferenceMissing(f"llama-server is not built; build it with: {COMMAND}")
        command = [str(BINARY), "--model", str(model), "--host", "127.0.0.1", "--no-webui"]
        command += ["--threads", str(threads), "--parallel", str(slots), "--ctx-size", str(CONTEXT_TOKENS * slots)]
        if amx.is_broken():  # the same compiler made it
            command.append("--no-repack")
        super().__init__(command)
