"""A cancellation as the engine sees it: in one string of its context, for one generation at a time."""

import ctypes
from pathlib import Path

import pytest
from support.generations import Make

from backends.base import CancelToken
from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.decoder import Decoder


def _decoder(backend: LlamaCppBackend) -> Decoder:
    assert backend._loaded is not None
    return backend._loaded.engine.decoder


def test_a_flag_is_seen_where_it_is_shown_and_nowhere_else() -> None:
    cell, cancel = ctypes.create_string_buffer(2), CancelToken()
    flag = AbortFlag(cancel)
    flag.show_in(cell)
    assert cell.value == b""
    cancel.cancel()
    assert (cell.value, flag.raised) == (b"x", True)
    flag.hide()
    assert (cell.value, flag.raised) == (b"", True)


def test_a_flag_that_was_raised_before_it_is_shown_is_seen_at_once() -> None:
    cell, cancel = ctypes.create_string_buffer(2), CancelToken()
    cancel.cancel()
    AbortFlag(cancel).show_in(cell)
    assert cell.value == b"x"


def test_a_cancel_that_comes_late_meets_no_later_generation(make: Make, tiny: Path) -> None:
    decoder, late = _decoder(make(tiny)), CancelToken()
    decoder.watch(AbortFlag(late))
    decoder.step(5)
    decoder.watch(AbortFlag(CancelToken()))
    late.cancel()
    decoder.step(6)
    decoder.watch(None)
    decoder.step(7)
    assert decoder.cache.tokens == [5, 6, 7]


def test_a_step_is_cut_short_by_the_flag_that_is_watched(make: Make, tiny: Path) -> None:
    decoder, cancel = _decoder(make(tiny)), CancelToken()
    decoder.step(5)
    decoder.watch(AbortFlag(cancel))
    cancel.cancel()
    with pytest.raises(Aborted):
        decoder.step(6)
    decoder.watch(None)
    decoder.step(6)
    assert decoder.cache.tokens == [5, 6]
