"""When a batch is read sooner if it is filled up, for llama.cpp on a processor calculates many tokens' work in blocks.

Its flash attention reads 64 tokens as a tile, and of fewer each against all that came before by itself, which takes
several times as long a token (llama.cpp, ggml-cpu/ops.cpp, `ggml_compute_forward_flash_attn_ext_f16`): a message of 60
tokens after 3,000 cost more than twice one of 64. Its matrix products take 16 tokens or 4 at once, and what is left
over one by one (ggml-cpu/repack.cpp, `forward_mul_mat_one_chunk`) or in smaller blocks (llamafile/sgemm.cpp, `mnpack`):
of a model in Q4_0 a prompt of 63 tokens took a fifth longer than one of 64, and one of 15 a third longer than one of
16.
Attention in plain products (see `attention`) knows no tiles, and a token takes as long in it however many there are.
Scores stay the same when products alone are filled up; a tile of attention adds up otherwise, and moves them a little.
Above: `decoder` fills a batch up, and drops what it was filled with. Below: `products` and `memory`.
Seen on x86 alone, with AVX2 and with AVX-512.
"""

import platform
from dataclasses import dataclass
from typing import Any, Self

import llama_cpp

from backends.llamacpp.memory import ModelShape, cells_of
from backends.llamacpp.products import Products

TILE = 64
"""Tokens: GGML_FA_TILE_Q."""

_BLOCKS = (4, 16, TILE)
_FEWEST = 5
"""Tokens: of some types four take half as long again as three (sgemm.cpp gets them ready first)."""

_SINGLE_COST, _TILE_COST, _PLAIN_COST = 6.5, 2.5, 1.0
"""What one value of a key costs, in weights of the model that a token is multiplied with: alone, in a tile, and in
plain products, which look at the cells that are masked too."""

_MARGIN = 1.01
"""How much longer a batch has to take by that reckoning before it is filled up."""


@dataclass(frozen=True, slots=True)
class BatchFilling:
    """What a batch costs a model: its products, and the values of keys that one token holds against one before it.

    tiles is how many a head's share of 64 tokens is calculated as: one, or more where threads share it out; None where
    attention is calculated in plain products.
    """

    products: Products
    values: int
    tiles: float | None
    context: int

    @classmethod
    def of(cls, model: Any, products: Products, shape: ModelShape, threads: int | None, context: int) -> Self | None:
        """That of a model on the processor; None where nothing can be filled, or nothing is known to be gained.

        threads share the tiles of flash attention out; None for plain products.
        Of a model that keeps a state or a window the tokens that fill a batch could not be dropped again; one that is
        not causal, or writes by diffusion, sees them.
        """
        if not shape.causal or platform.machine().lower() not in ("x86_64", "amd64"):
            return None
        others = (
            llama_cpp.llama_model_is_recurrent,
            llama_cpp.llama_model_is_hybrid,
            llama_cpp.llama_model_n_swa,
            llama_cpp.llama_model_is_diffusion,
        )
        if any(is_other(model) for is_other in others):
            return None
        tiles = None if threads is None else tiles_of_head(shape.heads, threads)
        return cls(products, shape.attention_values, tiles, context)

    def filling(self, count: int, before: int) -> int:
        """How many tokens to add to a batch of `count` after `before` others; 0 where that gains nothing."""
        if count < _FEWEST:
            return 0
        sizes = {-(-count // block) * block for block in _BLOCKS if block < TILE or count < TILE}
        sizes = {size for size in sizes if before + size <= self.context}
        if not sizes:
            return 0
        cost, size = min((self._cost(size, before), size) for size in sizes)
        return size - count if self._cost(count, before) > _MARGIN * cost else 0

    def _cost(self, count: int, before: int) -> float:
        return self.products.cost(count) + self.values * self._attention(count, before)

    def _attention(self, count: int, before: int) -> float:
        """What attention of a batch costs for each value of a token's keys."""
        if self.tiles is None:
            return _PLAIN_COST * count * cells_of(before + count)
        tokens, cost = (count, _SINGLE_COST) if count < TILE else (-(-count // TILE) * TILE, _TILE_COST * self.tiles)
        return cost * tokens * (before + tokens / 2)


def tiles_of_head(heads: int, threads: int) -> float:
    """How many tiles are calculated for each head's 64 tokens, as llama.cpp cuts the rows of all heads into chunks.

    A piece of a tile costs as much as a whole one, so that of few heads for many threads nothing is gained.
    """
    rows = TILE * heads
    chunks = -(-rows // -(-rows // (4 * threads))) if rows else 1
    if threads == 1 or chunks < threads:
        chunks = threads
    size = max(1, -(-rows // chunks))
    starts = range(0, rows, size)
    tiles = sum((min(first + size, rows) - 1) // TILE - first // TILE + 1 for first in starts)
    return tiles / max(1, heads)
