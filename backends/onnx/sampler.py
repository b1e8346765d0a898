"""Chooses the next token from its logits, in the order of llama.cpp's default chain, so that settings mean the same.

Penalties over the last 64 tokens, top-k, top-p, min-p, then temperature (llama.cpp, `common/sampling.cpp`: top-p and
min-p look at probabilities before temperature). genai's own sampler has no min_p, presence or frequency penalty, and
its settings and seed are fixed when its KV cache is made; with this one the cache outlives them.
"""

import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backends.onnx.interface import Logits
from messages.settings import InferenceSettings

Weights = npt.NDArray[np.float64]
"""Scores or unnormalized probabilities of the candidates, `(n_candidates,) float64`, descending."""

PENALTY_WINDOW = 64
"""Tokens, of prompt and output, that the penalties look back on (llama.cpp's `penalty_last_n`)."""

_COLDEST = 1e-5
"""Below this a temperature is no different from greedy, and a division by it would overflow."""


class Sampler:
    """The sampling of one generation: its settings, its random numbers and the tokens so far."""

    def __init__(self, settings: InferenceSettings, prompt: Sequence[int]) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._recent = list(prompt[-PENALTY_WINDOW:])
        self._penalises = (settings.repeat_penalty, settings.presence_penalty, settings.frequency_penalty) != (1, 0, 0)

    def pick(self, logits: Logits) -> int:
        """Choose a token; writes into `logits`, in which -inf marks tokens that must not be chosen."""
        if self._penalises:
            self._penalise(logits)
        token = self._draw(logits) if self._settings.temperature > 0 else int(logits.argmax())
        if self._penalises:
            self._recent = [*self._recent[1 - PENALTY_WINDOW :], token]
        return token

    def _penalise(self, logits: Logits) -> None:
        tokens, counts = np.unique(np.array(self._recent, dtype=np.int64), return_counts=True)
        scores = logits[tokens]
        penalty = self._settings.repeat_penalty
        scores = np.where(scores > 0, scores / penalty, scores * penalty)
        scores -= counts * self._settings.frequency_penalty + self._settings.presence_penalty
        logits[tokens] = scores

    def _draw(self, logits: Logits) -> int:
        tokens, scores = _largest(logits, self._settings.top_k)
        scores -= scores[0]
        kept = self._cut(scores)
        weights: Weights = np.exp(scores[:kept] / max(self._settings.temperature, _COLDEST)).cumsum()
        place = int(weights.searchsorted(self._random.random() * weights[-1], side="right"))
        return int(tokens[min(place, kept - 1)])

    def _cut(self, scores: Weights) -> int:
        """How many of the descending scores top-p and min-p leave, at least one."""
        settings, kept = self._settings, len(scores)
        if settings.top_p >= 1 and settings.min_p <= 0:
            return kept
        weights: Weights = np.exp(scores)
        if settings.top_p < 1:
            reached: Weights = weights.cumsum()
            kept = min(kept, int(reached.searchsorted(settings.top_p * reached[-1])) + 1)
        if settings.min_p > 0:
            kept = min(kept, int(np.count_nonzero(weights >= settings.min_p)))
        return max(1, kept)


def _largest(logits: Logits, count: int) -> tuple[npt.NDArray[np.int64], Weights]:
    """The places of the `count` largest logits (0: of all), in descending order of them, and those logits."""
    if not 0 < count < len(logits):
        order = (-logits).argsort(kind="stable")
        return order, logits[order].astype(np.float64)
    places = logits.argpartition(-count)[-count:]
    scores = logits[places].astype(np.float64)
    order = (-scores).argsort(kind="stable")
    return places[order], scores[order]
