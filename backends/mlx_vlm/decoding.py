"""One generation after its prompt was read: tokens into text, and the reasons to end.

Above it: `backend`. Below it: `MlxModel.decode`, whose tokens are decoded one by one here: the text that mlx-vlm joins
is not always that of its tokens, and comes late (0.7.10).
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from backends.base import CancelToken, TokenChunk
from backends.huggingface.guidance import Constraint
from backends.huggingface.vocabulary import TokenText
from backends.mlx_vlm.scores import ScoreTap
from messages.facts import FinishReason, TokenLogprob


@dataclass(slots=True)
class Decoding:
    """The state of a generation. `limit` is the most tokens it may put out.

    finish_reason holds once `run` has ended; `tokens` are those put out, `ended_by` the end-of-sequence token behind
    them if there was one, and `texts` what was passed on.
    """

    text: TokenText
    constraint: Constraint | None
    eos_tokens: frozenset[int]
    limit: int
    scores: ScoreTap | None = None
    finish_reason: FinishReason = FinishReason.CANCELLED
    ended_by: int | None = None
    tokens: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text_is_whole(self) -> bool:
        """True if what was passed on is the whole text of the tokens: no stop string was cut off."""
        return not self.text.stopped

    @property
    def seen(self) -> list[int]:
        """All tokens that the engine chose, in order."""
        return self.tokens if self.ended_by is None else [*self.tokens, self.ended_by]

    def run(self, steps: Generator[int, None, None], cancel: CancelToken) -> Iterator[TokenChunk]:
        """Yield a chunk a token until there is a reason to end; the engine's steps are closed then."""
        with closing(steps):
            for token in steps:
                if cancel.cancelled:
                    break
                if token in self.eos_tokens:
                    self.finish_reason, self.ended_by = FinishReason.STOP, token
                    break
                self.tokens.append(token)
                logprobs = () if self.scores is None else (self.scores.record(token),)
                yield self._chunk(self.text.feed(token), 1, logprobs)
                reason = self._reason_to_end()
                if reason is not None:
                    self.finish_reason = reason
                    break
        held = self.text.flush()
        if held:
            yield self._chunk(held, 0)

    def _chunk(self, text: str, tokens: int, logprobs: tuple[TokenLogprob, ...] = ()) -> TokenChunk:
        self.texts.append(text)
        return TokenChunk(text, tokens, logprobs)

    def _reason_to_end(self) -> FinishReason | None:
        if self.text.stopped or (self.constraint is not None and self.constraint.finished):
            return FinishReason.STOP
        return FinishReason.LENGTH if len(self.tokens) >= self.limit else None
