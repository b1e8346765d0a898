"""The decode loop of one generation: logits, constraint, sampler, text, and the reasons to end.

Above it: `backends.onnx.backend`, which has read the prompt. The text of a token is given away before the model runs
over it, so a reader never waits for a step that is not his.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from backends.base import CancelToken, TokenChunk
from backends.huggingface.guidance import Constraint
from backends.huggingface.vocabulary import TokenText
from backends.logprobs import LogprobRecorder
from backends.onnx.interface import Logits
from backends.onnx.model import TokenCache
from backends.onnx.sampler import Sampler
from messages.facts import FinishReason, TokenLogprob


@dataclass(slots=True)
class Decoding:
    """One generation after its prefill. `limit` is the most tokens it may put out.

    finish_reason holds once `run` has ended; `tokens` are those put out, without an end-of-sequence token, and `texts`
    what was passed on of them.
    """

    cache: TokenCache
    sampler: Sampler
    text: TokenText
    constraint: Constraint | None
    eos_tokens: frozenset[int]
    limit: int
    recorder: LogprobRecorder | None = None
    finish_reason: FinishReason = FinishReason.CANCELLED
    tokens: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text_is_whole(self) -> bool:
        """True if what was passed on is the whole text of the tokens: no stop string was cut off."""
        return not self.text.stopped

    def run(self, cancel: CancelToken) -> Iterator[TokenChunk]:
        """Yield a chunk a token until there is a reason to end. Raises EngineError, HostError."""
        while not cancel.cancelled:
            token, logprobs = self._next_token()
            if token in self.eos_tokens:
                self.finish_reason = FinishReason.STOP
                break
            self.tokens.append(token)
            yield self._chunk(self.text.feed(token), 1, logprobs)
            reason = self._reason_to_end()
            if reason is not None:
                self.finish_reason = reason
                break
            self.cache.append(token)
        held = self.text.flush()
        if held:
            yield self._chunk(held, 0)

    def _chunk(self, text: str, tokens: int, logprobs: tuple[TokenLogprob, ...] = ()) -> TokenChunk:
        self.texts.append(text)
        return TokenChunk(text, tokens, logprobs)

    def _next_token(self) -> tuple[int, tuple[TokenLogprob, ...]]:
        """The token, and how likely it was if that was asked for; what chooses it writes into the logits."""
        logits = self.cache.logits()
        if self.recorder is None:
            return self._choose(logits), ()
        as_they_are = logits.copy()
        token = self._choose(logits)
        return token, (self.recorder.record(as_they_are, token),)

    def _choose(self, logits: Logits) -> int:
        if self.constraint is not None:
            self.constraint.mask(logits)
        token = self.sampler.pick(logits)
        if self.constraint is not None:
            self.constraint.advance(token)
        return token

    def _reason_to_end(self) -> FinishReason | None:
        if self.text.stopped or (self.constraint is not None and self.constraint.finished):
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.tokens) >= self.limit else None
