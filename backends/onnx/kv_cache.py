"""The KV cache that outlives a turn: which tokens are in it, and how a prompt is brought into it.

Above it: `backends.onnx.backend`. Below it: one `Generator` at a time. Everything that might leave the cache unsure
(an engine's error, a termination that cannot be undone) throws the generator away; the next prompt then begins cold.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from backends.base import CancelToken, Prefill
from backends.damage import WORTHLESS, is_damaged
from backends.onnx.interface import EngineError, Generator, Logits
from backends.onnx.interrupt import Interrupt
from backends.onnx.limits import PIECE


class KvCache:
    """A sequence of tokens, all of them in the engine's KV cache."""

    def __init__(self, make: Callable[[], Generator], *, rewindable: bool, undoes: bool) -> None:
        """`undoes` tells whether a terminated append leaves the engine's cache as it was, up to a rewind."""
        self._make = make
        self._rewindable = rewindable
        self._undoes = undoes
        self._generator: Generator | None = make()
        self._tokens: list[int] = []

    def __len__(self) -> int:
        """Tokens in the cache."""
        return len(self._tokens)

    def prefill(self, prompt: Sequence[int], cancel: CancelToken) -> Iterator[Prefill]:
        """Bring a prompt into the cache, piece by piece, and tell how far it is; ends early if cancelled.

        What the cache holds of its beginning is kept, except for its last token, whose logits are needed.
        Raises EngineError.
        """
        cached = self._common(prompt)
        yield Prefill(done=cached, total=len(prompt), cached=cached)
        if cancel.cancelled:
            return
        # Not before an append follows: two rewinds in a row misplace all heads but the first where genai's cache
        # grows (0.18.0, `DefaultKeyValueCache::RewindPastTensorsTo`).
        cached = self._cut(cached)
        interrupt = Interrupt(self._require())
        cancel.on_cancel(interrupt.fire)
        while len(self._tokens) < len(prompt) and not cancel.cancelled:
            piece = prompt[len(self._tokens) : len(self._tokens) + PIECE]
            if not self._append(piece, interrupt):
                return
            yield Prefill(done=len(self._tokens), total=len(prompt), cached=cached)

    def try_out(self, token: int) -> None:
        """Run the model over a token and forget it: parts that do not fit each other, or are damaged, show it here.

        Raises EngineError.
        """
        if is_damaged(self._score, token):
            raise EngineError(WORTHLESS)

    def append(self, token: int) -> None:
        """Add one token. Raises EngineError; the cache is then empty."""
        try:
            self._require().append([token])
        except EngineError:
            self.clear()
            raise
        self._tokens.append(token)

    def logits(self) -> Logits:
        """Scores of the token after the last one."""
        return self._require().logits()

    def clear(self) -> None:
        """Throw everything away."""
        self._tokens = []
        if self._generator is not None:
            self._generator.close()
            self._generator = None

    def _score(self, token: int) -> Logits:
        """The scores after one token, which is then forgotten."""
        self._require().append([token])
        scores = self.logits()
        self._tokens = [token]
        self._rewind(0)
        return scores

    def _append(self, piece: Sequence[int], interrupt: Interrupt) -> bool:
        """Add tokens; False if a cancel cut it short, with the cache as it was before or empty."""
        try:
            interrupt.run(partial(self._require().append, piece))
        except EngineError:
            if not interrupt.fired:
                self.clear()
                raise
            self._undo()
            return False
        self._tokens.extend(piece)
        return True

    def _undo(self) -> None:
        """Take back a terminated append. Without a shared buffer genai's cache is then wrong (0.18.0)."""
        if self._undoes:
            self._rewind(len(self._tokens))
        else:
            self.clear()

    def _common(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt the cache has and can keep."""
        common = min(_common_length(self._tokens, prompt), len(prompt) - 1)
        return common if self._rewindable or common == len(self._tokens) else 0

    def _cut(self, length: int) -> int:
        """Drop the tokens from `length` on; how many are left, which is none if the engine cannot."""
        if length < len(self._tokens):
            self._rewind(length)
        return len(self._tokens)

    def _rewind(self, length: int) -> None:
        if not self._rewindable:
            self.clear()
            return
        try:
            self._require().rewind(length)
        except EngineError:
            self.clear()
        else:
            del self._tokens[length:]

    def _require(self) -> Generator:
        if self._generator is None:
            self._generator = self._make()
        return self._generator


def _common_length(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return index
    return min(len(left), len(right))
