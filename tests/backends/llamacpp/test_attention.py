"""Flash attention or plain products: the same answers, the one that is quicker, and no memory that is not there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llama_cpp
import psutil
import pytest
from support.generations import Make, ask, user

from backends.llamacpp import attention
from backends.llamacpp.attention import MAX_SCORES_BYTES, is_plain, scores_bytes
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.memory import ModelShape, read_shape
from backends.llamacpp.parts import read_model_header
from backends.llamacpp.products import Products

Choose = Callable[[bool], None]

LARGE = Products(others=1e9)
"""A model of which attention is next to nothing."""


@pytest.fixture
def choose(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Has models from now on loaded with plain attention, or with flash attention, whatever the processor and model."""
    monkeypatch.setattr(attention, "MAX_SHARE", 1.0)
    return lambda plain: monkeypatch.setattr(attention, "has_slow_flash", lambda: plain)


@pytest.fixture
def shape(tiny: Path) -> ModelShape:
    return read_shape(read_model_header(tiny))


def _talk(backend: LlamaCppBackend) -> list[tuple[str, int | None]]:
    """A long prompt, its answer and a second turn, each with the tokens that were cached."""
    first = [user("tell me a story " * 60)]
    answer = ask(backend, first, max_tokens=40)
    second = [*first, user("and what came of it")]
    again = ask(backend, second, max_tokens=40)
    return [(answer.text, answer.end.cached_tokens), (again.text, again.end.cached_tokens)]


def test_answers_are_the_same_in_both_ways(make: Make, choose: Choose) -> None:
    talks = []
    for plain in (True, False):
        choose(plain)
        backend = make()
        assert backend._loaded is not None
        filler = backend._loaded.engine.decoder._filler
        assert filler is None or (filler.tiles is None) is plain
        talks.append(_talk(backend))
    assert talks[0] == talks[1]


def test_the_engine_is_told_which_way(make: Make, choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    init = llama_cpp.llama_init_from_model

    def init_and_note(model: Any, parameters: Any) -> Any:
        told.append(parameters.flash_attn_type)
        return init(model, parameters)

    monkeypatch.setattr(llama_cpp, "llama_init_from_model", init_and_note)
    for plain in (True, False):
        choose(plain)
        make()
    assert told == [llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED, llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO]


def test_plain_products_are_for_processors_where_they_were_seen_to_be_quicker(
    shape: ModelShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    for features in (b"CPU : AVX2 = 1 | F16C = 1 | ", b"CPU : AVX2 = 1 | AVX512 = 1 | ", b"CPU : NEON = 1 | ", b""):
        monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda said=features: said)
        seen[features] = is_plain(shape, LARGE, 2048, 256)
    assert list(seen.values()) == [True, False, False, False]


@pytest.mark.parametrize(
    ("layers", "heads", "head_width", "weights", "plain"),
    [
        (16, 32, 64, 973e6, True),  # Llama 3.2 1B
        (24, 14, 64, 358e6, True),  # Qwen2.5 0.5B
        (24, 14, 64, 358e6 / 2, False),  # the same in a type of which a weight takes half as long
        (30, 9, 64, 106e6, False),  # SmolLM2 135M
    ],
)
def test_plain_products_are_for_models_of_which_attention_is_a_small_share(
    shape: ModelShape,
    monkeypatch: pytest.MonkeyPatch,
    layers: int,
    heads: int,
    head_width: int,
    weights: float,
    plain: bool,
) -> None:
    monkeypatch.setattr(attention, "has_slow_flash", lambda: True)
    sizes = replace(shape, heads=heads, attention_values=layers * heads * 2 * head_width)
    assert is_plain(sizes, Products(others=weights / 2, packed=weights / 2), 2048, 256) is plain


def test_scores_that_would_take_much_memory_are_not_kept(
    shape: ModelShape, choose: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(True)
    many = replace(shape, heads=32)
    assert scores_bytes(many, 4096, 256) == 256 * 4096 * 32 * 6 < MAX_SCORES_BYTES
    assert is_plain(many, LARGE, 4096, 256)
    assert not is_plain(many, LARGE, 8192, 256)
    assert is_plain(many, LARGE, 8192, 128)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    assert not is_plain(many, LARGE, 4096, 256)
    assert is_plain(replace(shape, heads=4), LARGE, 4096, 256)
