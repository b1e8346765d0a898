"""What a batch's products take by the types of a file's weights, and which of them are counted."""

import platform
from collections.abc import Mapping
from math import prod
from pathlib import Path

import llama_cpp
import pytest

from backends.llamacpp.header import Header, Value
from backends.llamacpp.products import Products

F32, Q4_0, Q8_0, Q4_K, Q6_K = 0, 2, 8, 12, 14
SHAPE = (512, 1024)
WEIGHTS = prod(SHAPE)

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="batches are filled up on x86 alone"
)


def _header(types: Mapping[str, int], shape: tuple[int, ...] = SHAPE, tensor_bytes: int = 1 << 20) -> Header:
    metadata: dict[str, Value] = {
        "general.architecture": "llama",
        "llama.expert_count": 8,
        "llama.expert_used_count": 2,
    }
    return Header(Path("a.gguf"), metadata, 1 << 20, tensor_bytes, {}, dict.fromkeys(types, shape), dict(types))


def _features(monkeypatch: pytest.MonkeyPatch, features: bytes) -> None:
    monkeypatch.setattr(llama_cpp, "llama_print_system_info", lambda: features)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with AVX-512."""
    _features(monkeypatch, b"CPU : AVX2 = 1 | AVX512 = 1 | ")


def test_what_each_token_is_multiplied_with_is_counted_by_its_type(wide: None) -> None:
    types = {
        "blk.0.attn_q.weight": Q4_0,
        "blk.1.ffn_up.weight": Q8_0,
        "blk.2.ffn_down.weight": Q6_K,
        "blk.3.attn_k.weight": F32,
        "token_embd.weight": Q8_0,  # looked up
        "output.weight": Q8_0,  # for a batch's last token alone
    }
    found = Products.of(_header(types), repacks=True)
    assert found == Products(packed=WEIGHTS / 2, in_fours=2 * WEIGHTS, others=WEIGHTS / 2)


def test_of_experts_only_those_are_counted_that_a_token_goes_to(wide: None) -> None:
    found = Products.of(_header({"blk.0.ffn_up_exps.weight": Q8_0}, (*SHAPE, 8)), repacks=True)
    assert found == Products(others=WEIGHTS * 2)


def test_norms_are_no_products(wide: None) -> None:
    assert Products.of(_header({"blk.0.attn_norm.weight": F32}, (512,)), repacks=True) == Products()


def test_weights_that_no_cache_holds_are_read_again_for_a_rest(wide: None) -> None:
    found = Products.of(_header({"blk.0.attn_q.weight": Q8_0}, tensor_bytes=1 << 30), repacks=True)
    assert found == Products(reread=WEIGHTS)
    assert found.cost(61) > Products(in_fours=WEIGHTS).cost(61) > found.cost(60)


def test_weights_that_may_not_be_packed_anew_are_not(wide: None) -> None:
    types = {"blk.0.attn_q.weight": Q4_0, "blk.0.attn_k.weight": Q4_K}
    assert Products.of(_header(types), repacks=False) == Products(in_fours=WEIGHTS / 2, others=WEIGHTS / 2)


def test_without_avx_512_nothing_is_multiplied_in_fours(monkeypatch: pytest.MonkeyPatch) -> None:
    _features(monkeypatch, b"CPU : AVX2 = 1 | ")
    found = Products.of(_header({"blk.0.attn_q.weight": Q8_0, "blk.0.attn_k.weight": Q4_K}), repacks=True)
    assert (found.packed, found.in_fours, found.others) == (WEIGHTS / 2, 0, WEIGHTS)
    assert found.left_over < Products().left_over


def test_without_avx2_nothing_is_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    _features(monkeypatch, b"CPU : SSE3 = 1 | AVX = 1 | ")
    assert Products.of(_header({"blk.0.attn_q.weight": Q4_0}), repacks=True).packed == 0


@pytest.mark.parametrize("tokens", [1, 5, 16, 17, 63, 64, 200])
def test_a_batch_of_whole_blocks_costs_its_tokens_and_a_rest_more(tokens: int) -> None:
    for products in (Products(packed=100), Products(in_fours=100), Products(reread=100), Products(others=100)):
        assert products.cost(tokens) >= 100 * tokens
        assert products.cost(-(-tokens // 16) * 16) == 100 * (-(-tokens // 16) * 16)
