"""A cancellation as llama.cpp sees it, in C and in Python.

The engine asks its abort callback between the operations of a step. A Python callback there would take the GIL
hundreds of times a token, so the callback is C's own `strlen`, looking at a string that is empty until the
generation is cancelled: false for "", true for "x".
"""

import ctypes
import sys
from typing import Any

import llama_cpp

from backends.base import CancelToken


class Aborted(Exception):
    """A step was cut short by a cancellation; the cache holds what was complete before it."""


class AbortFlag:
    """A cancellation as the engine sees it; one for each generation, so that a late cancel meets no later one."""

    def __init__(self, cancel: CancelToken) -> None:
        self.raised = False
        self.text = ctypes.create_string_buffer(2)
        self.when_raised = cancel.on_cancel
        """Has a callback called once it is raised, or at once if it is; in the thread that cancels."""
        cancel.on_cancel(self._raise)

    def _raise(self) -> None:
        self.raised = True
        self.text[0] = b"x"


def abort_callback() -> Any:
    """`strlen` as an abort callback; its data is the address of a flag's `text`."""
    library = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    return ctypes.cast(library.strlen, llama_cpp.ggml_abort_callback)
