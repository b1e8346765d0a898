"""Which tokens the engine's KV cache holds, so that the next prompt decodes only what is new in it.

A picture or a sound stands there as negative numbers, one for each cell that it takes, which no other picture has.
It is kept whole or not at all, and it moves the positions on by another number than that of its cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from operator import eq
from typing import Any

import llama_cpp

_SEQUENCE = 0
_TO_THE_END = -1


@dataclass(frozen=True, slots=True)
class Span:
    """Cells from `start` to before `end` that belong together, after which the next position is `position`."""

    start: int
    end: int
    position: int


class KvCache:
    """The one sequence in a context's memory, and the tokens that it was computed from."""

    def __init__(self, context: Any) -> None:
        self._memory = llama_cpp.llama_get_memory(context)
        self._spans: list[Span] = []
        self.tokens: list[int] = []

    @property
    def position(self) -> int:
        """The position of the next token."""
        if not self._spans:
            return len(self.tokens)
        last = self._spans[-1]
        return last.position + len(self.tokens) - last.end

    def add_span(self, cells: Sequence[int], positions: int) -> None:
        """Take note that a picture or a sound was decoded into `cells`, and how many positions it is long."""
        start, position = len(self.tokens), self.position
        self.tokens.extend(cells)
        self._spans.append(Span(start, len(self.tokens), position + positions))

    def reuse(self, prompt: Sequence[int]) -> int:
        """Keep the longest beginning of `prompt` that is cached, drop the rest, and return its length in tokens.

        At least one token of the prompt is left to decode: its logits are what the first new token is sampled from.
        """
        shared = sum(1 for _ in takewhile(bool, map(eq, self.tokens, prompt)))
        self.truncate(min(shared, len(prompt) - 1))
        return len(self.tokens)

    def truncate(self, length: int) -> None:
        """Drop all but the first `length` tokens, and a picture that is cut by that; all where no part can be dropped.

        (Recurrent models can drop no part.)
        """
        if length == len(self.tokens):
            return
        while self._spans and self._spans[-1].end > length:
            length = min(length, self._spans.pop().start)
        del self.tokens[length:]
        self.drop_rest()

    def drop_rest(self) -> None:
        """Drop whatever a decode that did not finish left behind the tokens that are complete."""
        if not llama_cpp.llama_memory_seq_rm(self._memory, _SEQUENCE, self.position, _TO_THE_END):
            self.clear()

    def clear(self) -> None:
        """Empty the cache; what stands in its cells stays there, as to overwrite it takes 11 ms a GiB."""
        llama_cpp.llama_memory_clear(self._memory, False)
        self.tokens.clear()
        self._spans.clear()
