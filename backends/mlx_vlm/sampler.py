"""Chooses the next token from its logits, in the order of llama.cpp's default chain, so that settings mean the same.

Penalties over the last 64 tokens, top-k, top-p, min-p, then temperature (llama.cpp, `common/sampling.cpp`). mlx-vlm's
own sampler takes nonsense silently and forgets the seed with min_p (0.7.10). Everything here is part of the graph, so
that the next token is computed while this one is on its way. Above it: `decoding`.
"""

import secrets
from collections.abc import Callable, Sequence

import mlx.core as mx

from messages.settings import InferenceSettings

LogitsProcessor = Callable[[mx.array, mx.array], mx.array]
"""`(tokens, logits)`: the tokens from the prompt's last on, `(n,) int32`, and `(1, vocab_size)`; the new logits."""

PENALTY_WINDOW = 64
"""Tokens, of prompt and output, that the penalties look back on (llama.cpp's `penalty_last_n`)."""

_COLDEST = 1e-5
"""Below this a temperature is no different from greedy, and a division by it would overflow."""


def make_sampler(settings: InferenceSettings) -> Callable[[mx.array], mx.array]:
    """What chooses one of `(1, vocab_size)` log-probabilities: its place, `(1,)`."""
    return Draw(settings) if settings.temperature > 0 else _greedy


def make_penalties(settings: InferenceSettings, prompt: Sequence[int]) -> list[LogitsProcessor]:
    """The penalties of one generation after a prompt; none if they are all off."""
    if (settings.repeat_penalty, settings.presence_penalty, settings.frequency_penalty) == (1, 0, 0):
        return []
    return [Penalties(settings, prompt)]


class Penalties:
    """Repeat, presence and frequency penalty."""

    def __init__(self, settings: InferenceSettings, prompt: Sequence[int]) -> None:
        self._settings = settings
        words = [token for token in prompt[-PENALTY_WINDOW:-1] if token >= 0]  # FastVLM's picture is -200
        self._before = mx.array(words, dtype=mx.int32)

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """Lower the logits of tokens that were there a short while ago."""
        settings = self._settings
        recent = mx.concatenate([self._before, tokens.astype(mx.int32)])[-PENALTY_WINDOW:]
        counts = mx.zeros((logits.shape[-1],), dtype=mx.float32).at[recent].add(1.0)
        scores = logits.astype(mx.float32)
        repeated = mx.where(scores > 0, scores / settings.repeat_penalty, scores * settings.repeat_penalty)
        repeated = repeated - counts * settings.frequency_penalty - settings.presence_penalty
        return mx.where(counts > 0, repeated, scores)


class Draw:
    """A random choice, the same for the same seed."""

    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        self._key = mx.random.key(secrets.randbits(32) if settings.seed is None else settings.seed)

    def __call__(self, logprobs: mx.array) -> mx.array:
        """Draw from what top-k, top-p and min-p leave."""
        scores, places = _largest(logprobs.astype(mx.float32), self._settings.top_k)
        kept = self._cut(scores) / max(self._settings.temperature, _COLDEST)
        self._key, key = mx.random.split(self._key)
        drawn = mx.random.categorical(kept, axis=-1, key=key)
        return mx.take_along_axis(places, drawn[..., None], axis=-1)[..., 0]

    def _cut(self, scores: mx.array) -> mx.array:
        """Scores, descending, with -inf for what top-p and min-p do not leave; the first always stays."""
        settings = self._settings
        if settings.top_p >= 1 and settings.min_p <= 0:
            return scores
        weights = mx.exp(scores - scores[..., :1])
        if settings.top_p < 1:
            reached = mx.cumsum(weights, axis=-1)
            scores = mx.where(reached - weights < settings.top_p * reached[..., -1:], scores, -mx.inf)
        if settings.min_p > 0:
            scores = mx.where(weights >= settings.min_p, scores, -mx.inf)
        return scores


def _greedy(logprobs: mx.array) -> mx.array:
    return mx.argmax(logprobs, axis=-1)


def _largest(scores: mx.array, count: int) -> tuple[mx.array, mx.array]:
    """The `count` largest scores (0: all) in descending order, and their places."""
    if 0 < count < scores.shape[-1]:
        places = mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count]
        scores = mx.take_along_axis(scores, places, axis=-1)
        order = mx.argsort(-scores, axis=-1)
        return mx.take_along_axis(scores, order, axis=-1), mx.take_along_axis(places, order, axis=-1)
    order = mx.argsort(-scores, axis=-1)
    return mx.take_along_axis(scores, order, axis=-1), order
