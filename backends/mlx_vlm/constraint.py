"""Constrained output: a mask over the logits of MLX, from the matcher that ONNX models have too.

mlx-vlm's own structured output needs a Metal kernel and fails on the processor (0.7.10). Above it: `decoding`.
"""

import mlx.core as mx
import numpy as np

from backends.huggingface.guidance import Constraint


class ConstraintMask:
    """Follows a generation's tokens and forbids those that the constraint does not allow next."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._started = False

    def __call__(self, tokens: mx.array, logits: mx.array) -> mx.array:
        """Mask `(1, vocab_size)` logits; `tokens` end with the one that was chosen last, at first the prompt's.

        Raises HostError `invalid_request` if the constraint cannot be followed any further.
        """
        if self._started:
            self._constraint.advance(int(np.array(tokens[-1])))
        self._started = True
        if self._constraint.finished:
            return logits
        allowed = np.zeros(logits.shape[-1], dtype=np.bool_)
        known = self._constraint.allowed()[: len(allowed)]
        allowed[: len(known)] = known
        return mx.where(mx.array(allowed)[None], logits, -mx.inf)
