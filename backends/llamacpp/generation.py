"""One generation: prefill, then token by token, as events.

What runs once for each token costs a few microseconds beside the engine's own time: pieces are looked up, not
computed, and the engine's functions are bound before the loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backends.base import GenerationEnd, Prefill, TokenChunk
from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.decoder import Decoder
from backends.llamacpp.prompt import Prompt
from backends.llamacpp.sampler import Sample
from backends.llamacpp.vocabulary import Pieces
from backends.text_stream import StopFilter, Utf8Assembler
from messages.facts import FinishReason, TokenLogprob

Record = Callable[[int], TokenLogprob]
"""Tells how likely the model found a token that was chosen from its last logits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a generation ends: tokens of output, tokens of prompt and output together, and stop strings."""

    max_tokens: int
    context: int
    stops: Sequence[str]


class Generation:
    """The answer to one prompt. `tokens` are those sampled so far, `texts` what was passed on of them."""

    def __init__(self, decoder: Decoder, pieces: Pieces, prompt: Prompt, limits: Limits, flag: AbortFlag) -> None:
        self._decoder = decoder
        self._pieces = pieces
        self._prompt = prompt
        self._flag = flag
        self._room = min(limits.max_tokens, limits.context - len(prompt.tokens))
        self._characters = Utf8Assembler()
        self._stops = StopFilter(limits.stops)
        self._reason = FinishReason.CANCELLED
        self._cached = 0
        self.tokens: list[int] = []
        self.texts: list[str] = []

    @property
    def text_is_whole(self) -> bool:
        """True if what was passed on is the whole text of the tokens: no stop string was cut off."""
        return not self._stops.stopped

    @property
    def end(self) -> GenerationEnd:
        """How the generation ended, and its counts."""
        prompt = self._prompt
        return GenerationEnd(self._reason, len(prompt.tokens), len(self.tokens), self._cached, prompt.pictures)

    def run(self, sample: Sample, record: Record | None = None) -> Iterator[Prefill | TokenChunk]:
        """Yield `Prefill`s and `TokenChunk`s; then ask for the `end`."""
        self._cached = self._decoder.cache.reuse(self._prompt.tokens)
        try:
            yield from self._prefill(self._cached)
            yield from self._decode(sample, record)
        except Aborted:
            pass
        tail = self._finish_text()
        if tail:
            yield TokenChunk(tail, 0)

    def _prefill(self, cached: int) -> Iterator[Prefill]:
        total = len(self._prompt.tokens)
        yield Prefill(cached, total, cached)
        if self._flag.raised:
            raise Aborted
        for done in self._decoder.prefill(self._prompt):
            yield Prefill(done, total, cached)

    def _decode(self, sample: Sample, record: Record | None) -> Iterator[TokenChunk]:
        pieces, flag, stops, tokens, texts = self._pieces, self._flag, self._stops, self.tokens, self.texts
        to_characters, to_text, step, room = self._characters.feed, stops.feed, self._decoder.step, self._room
        while not flag.raised:
            token = sample()
            piece = pieces[token]
            if piece is None:
                self._reason = FinishReason.STOP
                return
            text = to_text(to_characters(piece))
            tokens.append(token)
            texts.append(text)
            yield TokenChunk(text) if record is None else TokenChunk(text, 1, (record(token),))
            if stops.stopped or len(tokens) == room:
                self._reason = FinishReason.STOP if stops.stopped else FinishReason.LENGTH
                return
            step(token)

    def _finish_text(self) -> str:
        """What was withheld for an incomplete character or a possible stop string, now that neither comes any more."""
        tail = self._stops.feed(self._characters.flush()) + self._stops.flush()
        self.texts.append(tail)
        return tail
