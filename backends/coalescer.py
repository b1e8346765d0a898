"""Gathers tokens into few events: the browser gives no back-pressure, and each event costs every hop.

The first token goes out at once, later ones when 16 ms have passed since the last event or 64 tokens have gathered:
once for each frame that a display shows. An event costs daemon, relay and browser 0.8 ms of processor time together,
which is the engine's own; with one each 8 ms, a stream of 850 tokens/s lost 5 of 100.
There is no timer: an engine slower than 16 ms a token has every token sent at once, and a faster one brings the next
token, which sends those before it, in less time than a timer would wait.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from messages.facts import TokenLogprob

INTERVAL_S = 0.016
MAX_TOKENS = 64


class Gathered(NamedTuple):
    """Text, the number of tokens that it took, and these tokens if they were asked for."""

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]


class TokenCoalescer:
    """Holds the tokens of one generation that have not been sent."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._texts: list[str] = []
        self._count = 0
        self._logprobs: list[TokenLogprob] = []
        self._sent_at = float("-inf")
        self._first_at: float | None = None
        self._last_at: float | None = None

    @property
    def decode_s(self) -> float | None:
        """Seconds from the first token to the last one added; None before the first."""
        return None if self._first_at is None or self._last_at is None else self._last_at - self._first_at

    def add(self, text: str, tokens: int, logprobs: tuple[TokenLogprob, ...] = ()) -> bool:
        """Add a token's text; True if what is held is to be sent now."""
        self._texts.append(text)
        self._count += tokens
        if logprobs:
            self._logprobs.extend(logprobs)
        now = self._clock()
        if tokens:
            self._last_at = now
            if self._first_at is None:
                self._first_at = now
        return self._count >= MAX_TOKENS or now - self._sent_at >= INTERVAL_S

    def take(self) -> Gathered:
        """Take what is held, to send it now."""
        taken = Gathered("".join(self._texts), self._count, tuple(self._logprobs))
        self._texts.clear()
        self._logprobs.clear()
        self._count = 0
        self._sent_at = self._clock()
        return taken
