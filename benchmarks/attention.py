"""What attention in plain products gains over flash attention, with which llama.cpp decodes unless it is told not to.

Both in one process and in turns, on this processor whatever the host would choose for it. Below it: the llama.cpp
backend, without a host.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from unittest.mock import patch

from backends.base import LoadSpec
from backends.llamacpp import attention
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.decoder import Decoder
from backends.llamacpp.engine import default_threads
from backends.llamacpp.prompt import Prompt
from benchmarks.models import grouped_gguf
from benchmarks.samples import alternate, median
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_times
from messages.options import LoadOptions

_FIRST_TOKEN, _TOKENS = 300, 1000
_WAYS = "attention in plain products; flash attention"


def measure(sizes: Sizes) -> Iterator[Row]:
    """Two rows for each length of a talk: reading it on from the last one, and writing a token behind it."""
    with closing(LlamaCppBackend()) as one, closing(LlamaCppBackend()) as other:
        plain, flash = _load(one, plain=True), _load(other, plain=False)
        start = 0
        for end in sizes.talks:
            ours, theirs = _read(plain, end), _read(flash, end)
            yield at_most_times(f"llama.cpp: a prompt's tokens {start} to {end}, {_WAYS}", "ms", ours, theirs, None)
            steps, others = alternate(sizes.talk_steps, lambda _: _step(plain), lambda _: _step(flash))
            figure = f"llama.cpp: a token after {end} others, {_WAYS}; p50 of {len(steps)}"
            yield at_most_times(figure, "ms", median(steps), median(others), None)
            start = end


def _read(decoder: Decoder, end: int) -> float:
    """Milliseconds to read a prompt up to so many tokens, those that are cached left out."""
    tokens = [_FIRST_TOKEN + number % _TOKENS for number in range(end)]
    began = time.perf_counter()
    list(decoder.prefill(Prompt(tokens)))
    return (time.perf_counter() - began) * 1000


def _step(decoder: Decoder) -> float:
    """Milliseconds to decode a token, which is then forgotten."""
    began = time.perf_counter()
    decoder.step(_FIRST_TOKEN)
    took = time.perf_counter() - began
    decoder.cache.truncate(len(decoder.cache.tokens) - 1)
    return took * 1000


def _load(backend: LlamaCppBackend, *, plain: bool) -> Decoder:
    with patch.object(attention, "has_slow_flash", lambda: plain):
        backend.load(LoadSpec(grouped_gguf(), LoadOptions(threads=default_threads())), lambda *_: None)
    assert backend._loaded is not None
    return backend._loaded.engine.decoder
