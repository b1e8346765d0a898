"""How likely the model found its tokens: the log-probabilities that a generation may ask for.

Above it: the backends that have the model's scores (llamacpp, onnx). Probabilities are those of the model itself, over
its whole vocabulary, before penalties, temperature and constraints, so that they mean the same in every engine and with
all settings. Nothing here runs unless it was asked for.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from messages.facts import TokenLogprob, TokenScore

FLOOR = -9999.0
"""The logarithm of a probability is never less: JSON has no -inf (the same bound as in OpenAI's API)."""

Logits = npt.NDArray[np.float32]
"""Scores of the next token, `(vocab_size,) float32`."""

Spelling = Callable[[int], tuple[str, bytes | None]]
"""A token's name and the bytes that it writes; None for a special token, which writes nothing."""


class LogprobRecorder:
    """One generation's records; `top` is how many of the likeliest tokens each record names."""

    def __init__(self, top: int, spelling: Spelling) -> None:
        self._top = top
        self._spelling = spelling

    def record(self, logits: Logits, token: int) -> TokenLogprob:
        """The record of a token that was chosen from these scores, which are left as they are."""
        total = _log_sum(logits)
        top = tuple(TokenScore(**self._score(other, logits, total)) for other in _likeliest(logits, self._top))
        return TokenLogprob(**self._score(token, logits, total), top=top)

    def _score(self, token: int, logits: Logits, total: float) -> dict[str, Any]:
        name, data = self._spelling(token)
        value = max(FLOOR, float(logits[token]) - total)
        return {"token": name, "logprob": value, "bytes": None if data is None else tuple(data)}


def spelled(data: bytes) -> tuple[str, bytes]:
    """The name of a token that writes these bytes: how they read, with U+FFFD for a piece of a character."""
    return data.decode("utf-8", "replace"), data


def _log_sum(logits: Logits) -> float:
    """The logarithm of the sum of all exponentials, from which a score's distance is its log-probability."""
    largest = logits.max()
    return float(largest) + float(np.log(np.exp(logits - largest).sum(dtype=np.float64)))


def _likeliest(logits: Logits, count: int) -> Iterator[int]:
    if count < 1:
        return
    count = min(count, len(logits))
    places = logits.argpartition(-count)[-count:]
    yield from (int(place) for place in places[(-logits[places]).argsort(kind="stable")])
