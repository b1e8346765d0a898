"""When a small batch is read sooner if it is filled up: llama.cpp's attention on a processor reads 64 tokens as a tile.

Of a batch with fewer tokens it holds each against all that came before by itself, which takes several times as long a
token (llama.cpp, ggml-cpu/ops.cpp, `ggml_compute_forward_flash_attn_ext_f16`): a message of 60 tokens after 3,000
cost more than twice one of 64. Above: `decoder` fills a batch up, and drops what it was filled with.
Seen on x86 alone, with AVX2 and with AVX-512.
"""

import platform
from dataclasses import dataclass
from typing import Any, Self

import llama_cpp

from backends.llamacpp.memory import ModelShape

TILE = 64
"""Tokens: GGML_FA_TILE_Q."""

_SINGLE_COST, _TILE_COST = 8, 2
"""What one value of a key costs, in weights of the model that a token is multiplied with: alone, and in a tile."""

_MARGIN = 1.15
"""How much longer the small batch has to take by that reckoning before it is filled up."""


@dataclass(frozen=True, slots=True)
class AttentionTile:
    """A model's share of it: its weights, and the values of keys that one token holds against one before it.

    tiles is how many a head's share of a whole batch is calculated as: one, or more where threads share it out.
    """

    weights: int
    values: int
    tiles: float
    context: int

    @classmethod
    def of(cls, model: Any, shape: ModelShape, threads: int, context: int) -> Self | None:
        """That of a model on the processor; None where nothing can be filled, or nothing is known to be gained.

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
        weights, tiles = int(llama_cpp.llama_model_n_params(model)), tiles_of_head(shape.heads, threads)
        return cls(weights, shape.attention_values, tiles, context)

    def filling(self, count: int, before: int) -> int:
        """How many tokens to add to a batch of `count` after `before` others; 0 where that gains nothing."""
        if count >= TILE or before + TILE > self.context:
            return 0
        single = count * (self.weights + _SINGLE_COST * self.values * (before + count / 2))
        whole = TILE * (self.weights + _TILE_COST * self.tiles * self.values * (before + TILE))
        return TILE - count if single > _MARGIN * whole else 0


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
