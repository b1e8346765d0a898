"""What filling a prompt's last batch up gains: batches of a few tokens more or less than llama.cpp takes at once.

Beside each is the same batch as it is, in one process and in turns. Below it: the llama.cpp backend, without a host.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

from backends.base import LoadSpec
from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.decoder import Decoder
from backends.llamacpp.engine import default_threads
from backends.llamacpp.prompt import Prompt
from benchmarks.models import large_gguf
from benchmarks.samples import alternate, median
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_times
from messages.options import LoadOptions

KINDS: tuple[Literal["Q8_0", "Q4_0"], ...] = ("Q8_0", "Q4_0")
COUNTS = (7, 15, 31, 63, 127)
_FIRST_TOKEN = 300


def measure(sizes: Sizes) -> Iterator[Row]:
    """A row for each kind of weights and count of tokens that is filled up there."""
    for kind in KINDS:
        with closing(LlamaCppBackend()) as backend:
            decoder = _load(backend, large_gguf(kind))
            for count in COUNTS:
                if decoder._filler is not None and decoder._filler.filling(count, 0):
                    yield _row(decoder, kind, count, sizes)


def _row(decoder: Decoder, kind: str, count: int, sizes: Sizes) -> Row:
    filler = decoder._filler
    assert filler is not None

    def read(number: int, *, fills: bool) -> float:
        """Milliseconds for a prompt of which nothing is cached."""
        decoder._filler = filler if fills else None
        tokens = [_FIRST_TOKEN + number, *range(_FIRST_TOKEN, _FIRST_TOKEN + count - 1)]
        decoder.cache.clear()
        began = time.perf_counter()
        list(decoder.prefill(Prompt(tokens)))
        return (time.perf_counter() - began) * 1000

    ours, alone = alternate(
        sizes.fillings, lambda number: read(number, fills=True), lambda number: read(number, fills=False)
    )
    decoder._filler = filler
    figure = f"llama.cpp: prompt of {count} tokens, {kind}, filled up to {count + filler.filling(count, 0)}; as it is"
    return at_most_times(figure, "ms", median(ours), median(alone), None)


def _load(backend: LlamaCppBackend, model: Path) -> Decoder:
    backend.load(LoadSpec(model, LoadOptions(threads=default_threads())), lambda *_: None)
    assert backend._loaded is not None
    return backend._loaded.engine.decoder
