"""Which of llama.cpp's two ways attention is calculated in on the processor: as flash attention, or in plain products.

Flash attention goes through all that is cached once for each head, cell by cell, where plain products take the scores
of many cells at once. With AVX2 alone a token in plain products took 0.57 to 0.71 of the time behind 4,000 others, 0.76
to 0.81 behind 2,000, 0.81 to 0.91 behind 1,000, 0.91 to 0.99 behind 500, and 1.03 to 1.07 behind 64; a prompt 0.85 to
0.91 from 2,000 to 4,000, and as long before (an AMD EPYC without AVX-512, one thread and two; four and six layers of
Llama 3.2 1B's and Qwen2.5 0.5B's sizes, Q8_0). Plain products keep all scores of a batch, which flash attention does
not: where these would take much memory it stays. It stays, too, where nobody has measured both; on ARM others saw plain
products read prompts two to five times as fast (https://github.com/ggml-org/llama.cpp/issues/27086). Above: `engine`.
Below: `memory`.
"""

import llama_cpp
import psutil

from backends.llamacpp.memory import ModelShape, cells_of

MAX_SCORES_BYTES = 256 << 20

_MAX_SHARE_OF_FREE = 1 / 8
_SCORE_BYTES = 6
"""A score, and half as much while it is multiplied with values (llama-graph.cpp, `build_attn_mha`; ggml-cpu.c)."""


def is_plain(shape: ModelShape, context: int, batch_tokens: int) -> bool:
    """True if attention is to be calculated in plain products for a model on the processor."""
    free = psutil.virtual_memory().available
    return has_slow_flash() and scores_bytes(shape, context, batch_tokens) <= min(
        MAX_SCORES_BYTES, free * _MAX_SHARE_OF_FREE
    )


def has_slow_flash() -> bool:
    """True on processors of which it is known that flash attention is the slower way there."""
    features = llama_cpp.llama_print_system_info()
    return b"AVX2 = 1" in features and b"AVX512 = 1" not in features


def scores_bytes(shape: ModelShape, context: int, batch_tokens: int) -> int:
    """The memory that all scores of a batch take, against a context of so many tokens."""
    return batch_tokens * cells_of(context) * shape.heads * _SCORE_BYTES
