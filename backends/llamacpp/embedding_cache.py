"""The last embeddings of pictures and sounds, so that one that comes back need not be encoded again.

Above it: `decoder`. The KV cache holds one conversation; who changes between two about two pictures would wait for the
encoder, which takes most of the time that a picture takes, at every change.
"""

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64 * 1024 * 1024
"""Most memory of all embeddings kept: a picture of 1,000 tokens for a model of width 2,048 takes 8 MB."""


class EmbeddingCache:
    """Embeddings, each under the number of its first cell; those that were not used for longest are dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: dict[int, NDArray[np.float32]] = {}

    def get(self, cell: int) -> NDArray[np.float32] | None:
        """What is kept under a number, and now the last one used; None if it is not there."""
        found = self._kept.pop(cell, None)
        if found is not None:
            self._kept[cell] = found
        return found

    def put(self, cell: int, embeddings: NDArray[np.float32]) -> None:
        """Keep embeddings, unless they alone are too large."""
        if embeddings.nbytes > self._max_bytes:
            return
        self._kept[cell] = embeddings
        self._bytes += embeddings.nbytes
        while self._bytes > self._max_bytes:
            self._bytes -= self._kept.pop(next(iter(self._kept))).nbytes
