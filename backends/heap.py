"""Gives freed memory back to the system where the C library keeps it, and keeps Python from looking through the rest.

Engines allocate and free through glibc, whose arenas keep what was freed in between: a worker then grows by a few
percent over a thousand generations, though nothing leaks. Python's collector goes through all objects now and then:
23 ms for those of an engine's modules, in the middle of an answer. Above it: `backends.worker`.
Source: https://man7.org/linux/man-pages/man3/malloc_trim.3.html, https://docs.python.org/3/library/gc.html#gc.freeze
"""

import ctypes
import gc
import sys
from collections.abc import Callable

EVERY = 16
"""Generations between two trims: the pages that are given back cost the next generation some time."""


class HeapTrimmer:
    """Trims the heap after a load and after every `EVERY`th generation; what a load has left is not looked at again."""

    def __init__(self) -> None:
        self._trim = find_trim()
        self._count = 0

    def note_load(self) -> None:
        """A model was loaded, which leaves much that was needed only for that, and much that stays."""
        gc.collect()
        gc.freeze()
        self._trim()

    def note_generation(self) -> None:
        """A generation has ended."""
        self._count += 1
        if self._count % EVERY == 0:
            self._trim()


def find_trim() -> Callable[[], object]:
    """glibc's `malloc_trim(0)`, which takes 0.3 ms; on systems without it a function that does nothing."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "malloc_trim"):
        return lambda: None
    trim = library.malloc_trim
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return lambda: trim(0)
