"""A cancellation as llama.cpp sees it, in C and in Python.

The engine asks its abort callback between the operations of a step. A Python callback there would take the GIL
hundreds of times a token, so the callback is C's own `strlen`, looking at a string that is empty until the
generation is cancelled: false for "", true for "x". A context has one such string, which each generation's flag is
shown in for its time: naming another to the engine before each prompt is time that the first token waits.
"""

import ctypes
import sys
import threading
from typing import Any

import llama_cpp

from backends.base import CancelToken

_LOWERED, _RAISED = b"\0", b"x"


class Aborted(Exception):
    """A step was cut short by a cancellation; the cache holds what was complete before it."""


class AbortFlag:
    """A cancellation as the engine sees it; one for each generation, so that a late cancel meets no later one."""

    def __init__(self, cancel: CancelToken) -> None:
        self.raised = False
        self._cell: Any = None
        self._lock = threading.Lock()
        self.when_raised = cancel.on_cancel
        """Has a callback called once it is raised, or at once if it is; in the thread that cancels."""
        cancel.on_cancel(self._raise)

    def show_in(self, cell: Any) -> None:
        """From now on it is seen in the string that an engine looks at (see `abort_cell`), until `hide`."""
        with self._lock:
            self._cell = cell
            cell[0] = _RAISED if self.raised else _LOWERED

    def hide(self) -> None:
        """It is not seen there any more: not even a cancel that comes late."""
        with self._lock:
            if self._cell is not None:
                self._cell[0] = _LOWERED
            self._cell = None

    def _raise(self) -> None:
        with self._lock:
            self.raised = True
            if self._cell is not None:
                self._cell[0] = _RAISED


def abort_cell(context: Any) -> Any:
    """The string that a context's steps look at while the context lives: they are aborted while it is not empty."""
    library = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
    cell = ctypes.create_string_buffer(2)
    callback = ctypes.cast(library.strlen, llama_cpp.ggml_abort_callback)
    llama_cpp.llama_set_abort_callback(context, callback, ctypes.addressof(cell))
    return cell
