"""Sends one generation's tokens to the daemon: text and reasoning gathered, calls at once, all in their order.

Above it: `backends.worker`. Below it: `backends.coalescer`, which says when to send.
"""

from collections.abc import Callable

from backends.answer.events import AnswerChunk
from backends.base import TokenChunk
from backends.coalescer import TokenCoalescer
from messages.worker import TokensEvent


class TokenSender:
    """What of one generation has not been sent. It holds either text or reasoning, never both."""

    def __init__(self, ref: int, write: Callable[[TokensEvent], None]) -> None:
        self._ref = ref
        self._write = write
        self._tokens = TokenCoalescer()
        self._holds_reasoning = False

    @property
    def decode_s(self) -> float | None:
        """Seconds from the first token to the last one; None before the first."""
        return self._tokens.decode_s

    def send(self, chunk: TokenChunk) -> None:
        """Send a token's text, now or with later ones."""
        if self._tokens.add(chunk.text, chunk.tokens, chunk.logprobs):
            self.flush()

    def send_answer(self, chunk: AnswerChunk) -> None:
        """Send what a token has made certain, now or with later ones; tool calls now."""
        is_due = self._tokens.add("", chunk.chunk.tokens, chunk.chunk.logprobs)
        for piece in chunk.pieces:
            if piece.calls:
                self.flush()
                self._write(TokensEvent(ref=self._ref, text="", count=0, tool_calls=piece.calls))
                continue
            if bool(piece.reasoning) is not self._holds_reasoning:
                self.flush()
                self._holds_reasoning = bool(piece.reasoning)
            self._tokens.add(piece.reasoning or piece.text, 0)
        if is_due:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        held = self._tokens.take()
        if not (held.text or held.tokens):
            return
        text, reasoning = ("", held.text) if self._holds_reasoning else (held.text, "")
        self._write(
            TokensEvent(ref=self._ref, text=text, count=held.tokens, logprobs=held.logprobs, reasoning=reasoning)
        )
