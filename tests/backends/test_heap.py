"""Freed memory goes back to the system."""

import ctypes
import gc
import sys

import psutil
import pytest

from backends.heap import EVERY, HeapTrimmer

BLOCKS = 4_000
BLOCK_BYTES = 16_000


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_what_was_freed_between_two_used_blocks_goes_back_to_the_system() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    library.free.argtypes = (ctypes.c_void_p,)
    blocks = [library.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK_BYTES)
    for block in blocks[:-1]:
        library.free(block)
    process, trimmer = psutil.Process(), HeapTrimmer()
    before = process.memory_info().rss
    for _ in range(EVERY):
        trimmer.note_generation()
    assert before - process.memory_info().rss > BLOCKS * BLOCK_BYTES / 2
    library.free(blocks[-1])


def test_what_a_load_has_left_is_not_looked_through_again() -> None:
    kept = [[number] for number in range(10_000)]
    HeapTrimmer().note_load()
    try:
        assert gc.get_freeze_count() > len(kept)
        assert len(gc.get_objects()) < len(kept)
    finally:
        gc.unfreeze()
