"""The log-probabilities that a generation may ask for: the network's own scores, before anything of ours changes them.

Above it: `decoding`. Below it: `backends.logprobs`.
"""

from collections import deque

import mlx.core as mx
import numpy as np

from backends.logprobs import LogprobRecorder
from messages.facts import TokenLogprob


class ScoreTap:
    """The first of the logits processors: it changes nothing and keeps the scores until their token is out.

    The engine computes one token ahead, so there are two at most.
    """

    def __init__(self, recorder: LogprobRecorder) -> None:
        self._recorder = recorder
        self._waiting: deque[mx.array] = deque()

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """Take the scores of the next token, `(1, vocab_size)`."""
        self._waiting.append(logits)
        return logits

    def record(self, token: int) -> TokenLogprob:
        """The record of the next token in order."""
        scores = np.array(self._waiting.popleft()[0].astype(mx.float32))
        return self._recorder.record(scores, token)
