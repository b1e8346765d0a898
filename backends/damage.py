"""Tells damaged weights by what they give: every engine asks once, as it loads.

Above it: the engines' models.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

WORTHLESS = "its weights are damaged: they score no token above another, or with what is no number"
"""What is said of a model whose scores are worthless after whatever token."""

Scores = npt.NDArray[np.float32]


def is_damaged(score: Callable[[int], Scores], first: int) -> bool:
    """True if the scores after token `first` are worthless, and those after each of a few others too.

    A whole model may have zeros for one token (that of padding, often the first of a text too), and then scores all
    tokens alike after it. `score` gives the scores after a token with nothing before it.
    """
    scores = score(first)
    others = (1, scores.size // 3, scores.size // 2)
    return _worthless(scores) and all(_worthless(score(token)) for token in others)


def _worthless(scores: Scores) -> bool:
    """True of the scores that zeros or nonsense in place of weights give: all the same, or no numbers among them."""
    return not scores.max() > scores.min()
