"""A batch that is filled up because the engine calculates in blocks: read sooner, and nothing else is different."""

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.generations import Make, ask, user
from support.looking import look, picture
from support.tiny_gguf import write_tiny

from backends.base import CancelToken
from backends.llamacpp import attention
from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.batch_filling import TILE, BatchFilling, tiles_of_head
from backends.llamacpp.decoder import Decoder
from backends.llamacpp.memory import read_shape
from backends.llamacpp.parts import read_model_header
from backends.llamacpp.products import Products
from backends.llamacpp.prompt import Prompt
from tools.quantize_gguf import quantize_to_q4_0

BILLION = BatchFilling(Products(reread=970_000_000), values=16 * 32 * 128, tiles=1, context=8192)
"""A model of Llama 3.2 1B's sizes in Q8_0."""

PACKED = replace(BILLION, products=Products(packed=485_000_000))
"""The same in Q4_0."""

HISTORY = [5 + number % 200 for number in range(700)]
MESSAGE = [7 + number * 3 % 200 for number in range(50)]

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="batches are filled up on x86 alone"
)


def _decoder(backend: LlamaCppBackend) -> Decoder:
    assert backend._loaded is not None
    return backend._loaded.engine.decoder


def _read(backend: LlamaCppBackend, tokens: list[int]) -> None:
    """Decode more tokens behind what is cached, as a prompt that goes on."""
    decoder = _decoder(backend)
    list(decoder.prefill(Prompt([*decoder.cache.tokens, *tokens])))


def _scores(backend: LlamaCppBackend) -> np.ndarray:
    assert backend._loaded is not None
    return backend._loaded.engine.logits.read().copy()


def _count_batches(backend: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each batch of a model has from now on."""
    seen: list[int] = []
    run = _decoder(backend)._run

    def count_and_run(batch: Any) -> None:
        seen.append(batch.n_tokens)
        run(batch)

    monkeypatch.setattr(_decoder(backend), "_run", count_and_run)
    return seen


@pytest.fixture
def packed(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model in Q4_0, whose weights are packed anew when it is loaded."""
    path = tmp_path / "packed.gguf"
    quantize_to_q4_0(tiny, path)
    return path


@pytest.fixture
def pair(make: Make, monkeypatch: pytest.MonkeyPatch) -> tuple[LlamaCppBackend, LlamaCppBackend]:
    """The same model twice, with flash attention on every processor; the second fills no batch up."""
    monkeypatch.setattr(attention, "has_slow_flash", lambda: False)
    filled, bare = make(), make()
    assert _decoder(filled)._filler is not None
    _decoder(bare)._filler = None
    return filled, bare


def test_a_message_after_a_long_history_is_filled_up_and_a_short_one_or_a_whole_tile_is_not() -> None:
    assert BILLION.filling(60, 2000) == TILE - 60
    assert BILLION.filling(40, 4000) == TILE - 40
    assert BILLION.filling(4, 4000) == 0
    assert BILLION.filling(60, 0) == BILLION.filling(40, 0) == 0
    assert BILLION.filling(TILE, 4000) == BILLION.filling(128, 4000) == 0


def test_a_few_tokens_more_than_whole_blocks_are_filled_up_without_a_history_too() -> None:
    assert [BILLION.filling(count, 0) for count in (4, 7, 16, 61, 63, 127)] == [0, 1, 0, 0, 1, 1]
    assert [PACKED.filling(count, 0) for count in (4, 7, 13, 15, 16, 31, 61, 79, 127)] == [0, 1, 3, 1, 0, 1, 3, 1, 1]


def test_three_tokens_stay_three() -> None:
    """Of Q4_K with Q6_K among it, four took half as long again."""
    assert [PACKED.filling(count, 0) for count in (1, 2, 3)] == [0, 0, 0]


def test_where_threads_share_few_heads_each_piece_costs_a_whole_tile() -> None:
    assert [tiles_of_head(heads, 1) for heads in (1, 2, 14, 32)] == [1, 1, 1, 1]
    assert tiles_of_head(32, 2) == tiles_of_head(16, 2) == 1
    assert tiles_of_head(1, 2) == 8
    assert tiles_of_head(14, 15) > 4
    half_billion = BatchFilling(Products(others=360_000_000), 24 * 14 * 128, tiles_of_head(14, 15), 8192)
    assert replace(half_billion, tiles=1).filling(40, 3000) > 0
    assert half_billion.filling(40, 3000) == 0


def test_in_plain_attention_blocks_are_filled_up_and_tiles_are_not() -> None:
    plain = replace(BILLION, tiles=None)
    assert [plain.filling(count, 0) for count in (7, 16, 63)] == [1, 0, 1]
    assert plain.filling(60, 2000) == plain.filling(40, 4000) == 0


def test_nothing_is_filled_up_beyond_the_context() -> None:
    assert BILLION.filling(60, 8192 - TILE) == TILE - 60
    assert BILLION.filling(60, 8192 - TILE + 1) == 0


def test_the_scores_are_those_of_the_same_tokens_alone(
    pair: tuple[LlamaCppBackend, LlamaCppBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _count_batches(pair[0], monkeypatch)
    for backend in pair:
        _read(backend, HISTORY)
        _read(backend, MESSAGE)
    assert seen[-1] == TILE
    filled, bare = map(_scores, pair)
    assert np.abs(filled - bare).max() < 0.01 * bare.std()
    assert _decoder(pair[0]).cache.tokens == _decoder(pair[1]).cache.tokens == HISTORY + MESSAGE


def test_the_scores_of_weights_that_are_packed_anew_are_those_of_the_same_tokens_alone(
    make: Make, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled, bare = make(packed), make(packed)
    _decoder(bare)._filler = None
    seen = _count_batches(filled, monkeypatch)
    for count, batch in ((15, 16), (5, 5), (31, 32)):
        for backend in (filled, bare):
            _decoder(backend).cache.clear()  # what is filled up behind a history differs from processor to processor
            _read(backend, MESSAGE[:count])
        assert seen[-1] == batch
        assert np.abs(_scores(filled) - _scores(bare)).max() < 0.01 * _scores(bare).std()
    assert _decoder(filled).cache.tokens == _decoder(bare).cache.tokens


def test_what_a_batch_was_filled_with_is_seen_by_no_later_token(
    pair: tuple[LlamaCppBackend, LlamaCppBackend],
) -> None:
    for backend in pair:
        _read(backend, HISTORY)
        _read(backend, MESSAGE)
        for token in (11, 12, 13):
            _decoder(backend).step(token)
        _read(backend, MESSAGE)
        _decoder(backend).step(14)
    filled, bare = map(_scores, pair)
    assert np.abs(filled - bare).max() < 0.01 * bare.std()


def test_a_talk_is_answered_as_without(pair: tuple[LlamaCppBackend, LlamaCppBackend]) -> None:
    first = [user("tell me a story " * 40)]
    second = [*first, user("and what came of the second of them then")]
    texts = []
    for backend in pair:
        ask(backend, first)
        answer = ask(backend, second, max_tokens=30)
        assert 20 < answer.end.input_tokens - answer.end.cached_tokens < TILE
        texts.append(answer.text)
    assert texts[0] == texts[1]


def test_a_message_near_the_contexts_end_is_read_and_answered(make: Make) -> None:
    backend = make(context_length=760)
    _read(backend, HISTORY)
    _read(backend, MESSAGE)
    assert _decoder(backend).cache.tokens == HISTORY + MESSAGE
    _decoder(backend).step(11)


def test_a_stop_in_a_filled_batch_leaves_what_was_read_before(
    pair: tuple[LlamaCppBackend, LlamaCppBackend],
) -> None:
    for backend in pair:
        _read(backend, HISTORY)
    stopped, cancel = _decoder(pair[0]), CancelToken()
    stopped.watch(AbortFlag(cancel))
    cancel.cancel()
    with pytest.raises(Aborted):
        _read(pair[0], MESSAGE)
    stopped.watch(None)
    assert stopped.cache.tokens == HISTORY
    for backend in pair:
        _decoder(backend).step(11)
    filled, bare = map(_scores, pair)
    assert np.abs(filled - bare).max() < 0.01 * bare.std()


def test_no_batch_is_filled_for_a_model_with_a_window_of_attention(make: Make, tmp_path: Path) -> None:
    backend = make(write_tiny(tmp_path / "gemma.gguf", architecture="gemma3", window=512))
    assert _decoder(backend)._filler is None


def test_no_batch_is_filled_for_a_model_whose_tokens_see_what_stands_behind_them(make: Make, tiny: Path) -> None:
    loaded = make()._loaded
    assert loaded is not None
    shape = read_shape(read_model_header(tiny))
    products = Products.of(read_model_header(tiny), repacks=True)
    assert BatchFilling.of(loaded.engine.model, products, shape, 1, 2048) is not None
    assert BatchFilling.of(loaded.engine.model, products, replace(shape, causal=False), 1, 2048) is None


def test_text_behind_a_picture_is_read_as_without(make: Make, tiny_vl: Path) -> None:
    first = [user("a story " * 60), look(picture(1), "what is this")]
    second = [*first, user("and what came of the second of them then")]
    texts = []
    for fills in (True, False):
        backend = make(tiny_vl)
        if not fills:
            _decoder(backend)._filler = None
        ask(backend, first)
        texts.append(ask(backend, second, max_tokens=30).text)
    assert texts[0] == texts[1]
