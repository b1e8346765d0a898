"""Embeddings of pictures that come back: kept within a bound, and used instead of the encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_cpp import mtmd_cpp
from support.generations import Make, ask
from support.looking import look, picture

from backends.llamacpp.embedding_cache import EmbeddingCache


def test_what_was_not_used_for_longest_is_dropped() -> None:
    cache = EmbeddingCache(max_bytes=3 * 400)
    rows = {cell: np.full((10, 10), cell, np.float32) for cell in (-1, -2, -3, -4)}
    for cell in (-1, -2, -3):
        cache.put(cell, rows[cell])
    assert cache.get(-1) is rows[-1]
    cache.put(-4, rows[-4])
    assert cache.get(-2) is None
    assert [cache.get(cell) is rows[cell] for cell in (-1, -3, -4)] == [True] * 3


def test_what_is_too_large_alone_is_not_kept_and_drops_nothing() -> None:
    cache = EmbeddingCache(max_bytes=400)
    small = np.zeros((10, 10), np.float32)
    cache.put(-1, small)
    cache.put(-2, np.zeros((11, 10), np.float32))
    assert cache.get(-1) is small
    assert cache.get(-2) is None


def test_a_picture_that_comes_back_is_not_encoded_again(
    make: Make, tiny_vl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, encode, encoded = make(tiny_vl), mtmd_cpp.mtmd_encode_chunk, []

    def counted(context: Any, chunk: Any) -> Any:
        encoded.append(chunk)
        return encode(context, chunk)

    monkeypatch.setattr(mtmd_cpp, "mtmd_encode_chunk", counted)
    first = ask(backend, [look(picture(1), "what?")])
    ask(backend, [look(picture(2), "what?")])
    again = ask(backend, [look(picture(1), "what?")])
    assert len(encoded) == 2
    assert again.text == first.text
    assert again.end.cached_tokens < again.end.input_tokens - 35
