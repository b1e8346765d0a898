"""Tells damaged weights by what they give: every engine asks once, as it loads.

Above it: the engines' models.
"""

import numpy as np
import numpy.typing as npt

WORTHLESS = "its weights are damaged: they score no token above another, or with what is no number"
"""What is said of a model whose scores are `worthless`."""


def worthless(scores: npt.NDArray[np.float32]) -> bool:
    """True of the scores that zeros or nonsense in place of weights give: all the same, or no numbers among them."""
    return not scores.max() > scores.min()
