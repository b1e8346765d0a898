"""Which tokens the engine's KV cache holds, so that the next prompt decodes only what is new in it."""

from collections.abc import Sequence
from itertools import takewhile
from operator import eq
from typing import Any

import llama_cpp

_SEQUENCE = 0
_TO_THE_END = -1


class KvCache:
    """The one sequence in a context's memory, and the tokens that it was computed from."""

    def __init__(self, context: Any) -> None:
        self._memory = llama_cpp.llama_get_memory(context)
        self.tokens: list[int] = []

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep the longest beginning of `prompt` that is cached, drop the rest, and return its length in tokens.

        At least one token of the prompt is left to decode: its logits are what the first new token is sampled from.
        """
        shared = sum(1 for _ in takewhile(bool, map(eq, self.tokens, prompt)))
        self.truncate(min(shared, len(prompt) - 1))
        return len(self.tokens)

    def truncate(self, length: int) -> None:
        """Drop all but the first `length` tokens; all of them where the model cannot drop a part (recurrent ones)."""
        if length == len(self.tokens):
            return
        if not length or not llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, length, _TO_THE_END):
            self.clear()
            return
        del self.tokens[length:]

    def drop_after(self, length: int) -> None:
        """Drop whatever a decode that did not finish left behind the first `length` tokens."""
        self.tokens.append(-1)
        self.truncate(length)

    def clear(self) -> None:
        """Empty the cache."""
        llama_cpp.llama_memory_clear(self._memory, True)
        self.tokens.clear()
