"""llama.cpp's own log: warnings to stderr, and its last words for an error message."""

import ctypes
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import llama_cpp
from llama_cpp._logger import llama_log_callback as default_callback

_WARN, _ERROR, _CONTINUED = 3, 4, 5
"""`enum ggml_log_level` (ggml.h); a continued line has the level of the one before."""


@dataclass(slots=True)
class EngineLog:
    """Takes llama.cpp's log for as long as it is open: the process has one log, so open one at a time."""

    errors: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    _level: int = 0
    _callback: object = None
    _set_multimodal: Callable[..., None] | None = None

    def open(self) -> None:
        """Take the log."""
        self._callback = llama_cpp.llama_log_callback(self._write)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def open_multimodal(self) -> None:
        """Take the log of the multimodal library too, which has one of its own."""
        from llama_cpp import mtmd_cpp

        mtmd_cpp.mtmd_helper_log_set(self._callback, ctypes.c_void_p(0))
        self._set_multimodal = mtmd_cpp.mtmd_helper_log_set

    def close(self) -> None:
        """Give the log back to llama_cpp, which must not keep a callback of ours."""
        llama_cpp.llama_log_set(default_callback, ctypes.c_void_p(0))
        if self._set_multimodal is not None:
            self._set_multimodal(default_callback, ctypes.c_void_p(0))
        self._callback = self._set_multimodal = None

    @property
    def last_error(self) -> str:
        """The last error, without the name of the function that wrote it; empty if there was none."""
        return self.errors[-1].split(": ", 1)[-1].strip().rstrip(".") if self.errors else ""

    @property
    def first_cause(self) -> str:
        """The innermost cause of the first error; empty if there was none."""
        return self.errors[0].rsplit(": ", 1)[-1].strip().rstrip(".") if self.errors else ""

    def _write(self, level: int, text: bytes, _: ctypes.c_void_p) -> None:
        self._level = self._level if level == _CONTINUED else level
        if self._level < _WARN:
            return
        line = text.decode("utf-8", "replace")
        if self._level == _ERROR and line.strip():
            self.errors.append(line)
        sys.stderr.write(line)


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Catch what C code prints to file descriptor 2; the list holds it, one string, when the block has ended."""
    said: list[str] = []
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))
