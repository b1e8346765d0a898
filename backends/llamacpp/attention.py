"""Which of llama.cpp's two ways attention is calculated in on the processor: as flash attention, or in plain products.

Flash attention goes through all that is cached once for each head, cell by cell, where plain products take the scores
of many cells at once. With AVX2 alone a token in plain products took 0.57 to 0.71 of the time behind 4,000 others, 0.71
to 0.81 behind 2,000, 0.81 to 0.91 behind 1,000, 0.90 to 0.99 behind 500, and 1.03 to 1.12 behind 64; a prompt 0.85 to
1.07 of it from 2,000 to 4,000, and 1.00 to 1.12 before (four and six layers of Llama 3.2 1B's and Qwen2.5 0.5B's sizes,
Q8_0; an AMD EPYC without AVX-512, one thread and two, and one with it and llama.cpp compiled without). Where attention
is a larger share of the work than in those, plain products cost short prompts a tenth, and flash attention stays. It
stays, too, where the scores of a batch, which plain products keep, would take much memory; with AVX-512 (there the same
two models took 0.99 and 0.77 to 0.84 of the time behind 4,000, 0.99 and 0.91 to 0.95 behind 1,000, and 1.03 to 1.05 for
prompts of up to 256); and where nobody has measured both. On ARM others saw plain products read prompts two to five
times as fast (https://github.com/ggml-org/llama.cpp/issues/27086).
Above: `engine`. Below: `memory` and `products`.
"""

import llama_cpp
import psutil

from backends.llamacpp.memory import ModelShape, cells_of
from backends.llamacpp.products import Products

MAX_SCORES_BYTES = 256 << 20

MAX_SHARE = 1.5e-4
"""Values that a token is held against for each token before it, by weights that it is multiplied with (as `Products`
counts them): 0.7e-4 and 1.2e-4 in the models that gained, 3.3e-4 and 4.3e-4 (of 125 and of 20 million parameters) in
those that lost."""

_MAX_SHARE_OF_FREE = 1 / 8
_SCORE_BYTES = 6
"""A score, and half as much while it is multiplied with values (llama-graph.cpp, `build_attn_mha`; ggml-cpu.c)."""


def is_plain(shape: ModelShape, products: Products, context: int, batch_tokens: int) -> bool:
    """True if attention is to be calculated in plain products for a model on the processor."""
    if not has_slow_flash() or shape.attention_values > MAX_SHARE * products.weights:
        return False
    free = psutil.virtual_memory().available
    return scores_bytes(shape, context, batch_tokens) <= min(MAX_SCORES_BYTES, free * _MAX_SHARE_OF_FREE)


def has_slow_flash() -> bool:
    """True on processors of which it is known that flash attention is the slower way there."""
    features = llama_cpp.llama_print_system_info()
    return b"AVX2 = 1" in features and b"AVX512 = 1" not in features


def scores_bytes(shape: ModelShape, context: int, batch_tokens: int) -> int:
    """The memory that all scores of a batch take, against a context of so many tokens."""
    return batch_tokens * cells_of(context) * shape.heads * _SCORE_BYTES
