"""What the two runtimes have in common: a generator of logits over a KV cache, a tokenizer, and one exception.

Above it: `kv_cache`, `decoding`, `prompt`, which know no runtime. Below it: `genai` and `transformersjs`.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
"""Scores of the next token, `(vocab_size,) float32`."""


class EngineError(Exception):
    """What an engine says went wrong, in its own words."""


class Generator(Protocol):
    """A sequence of tokens, all of them in the engine's KV cache."""

    def append(self, tokens: Sequence[int]) -> None:
        """Run the model over new tokens. Raises EngineError, also when `terminate` was called."""

    def logits(self) -> Logits:
        """Scores of the token that follows the last one appended; the array is the caller's."""

    def rewind(self, length: int) -> None:
        """Drop the tokens from `length` on; at least one must be appended before logits are asked for.

        Raises EngineError.
        """

    def terminate(self) -> None:
        """End a running `append` with an error; from any thread."""

    def resume(self) -> None:
        """Take a `terminate` back."""

    def close(self) -> None:
        """Free the KV cache."""


class TextTokenizer(Protocol):
    """Text into tokens."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text without NUL; special tokens in it are recognised, none is added."""
