"""Damaged weights are told by scores that are worthless after several tokens, not after one alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest

from backends.damage import is_damaged

Scores = npt.NDArray[np.float32]
ZEROS: Scores = np.zeros(12, np.float32)
NOTHING: Scores = np.full(12, np.nan, np.float32)
GOOD: Scores = np.arange(12, dtype=np.float32)


class Model:
    """Scores `usual` after every token but those of `others`, and the tokens that were asked for."""

    def __init__(self, usual: Scores, others: Mapping[int, Scores]) -> None:
        self.asked: list[int] = []
        self._usual = usual
        self._others = others

    def score(self, token: int) -> Scores:
        """The scores after a token."""
        self.asked.append(token)
        return self._others.get(token, self._usual)


def test_a_whole_model_is_asked_once() -> None:
    model = Model(GOOD, {})
    assert not is_damaged(model.score, 7)
    assert model.asked == [7]


@pytest.mark.parametrize("row", [ZEROS, NOTHING], ids=["zeros", "no numbers"])
@pytest.mark.parametrize("bad", [(0,), (0, 1), (0, 1, 4)])
def test_a_few_tokens_that_say_nothing_are_no_damage(row: Scores, bad: tuple[int, ...]) -> None:
    assert not is_damaged(Model(GOOD, dict.fromkeys(bad, row)).score, 0)


@pytest.mark.parametrize("usual", [ZEROS, NOTHING], ids=["zeros", "no numbers"])
def test_the_same_after_every_token_is_damage(usual: Scores) -> None:
    model = Model(usual, {})
    assert is_damaged(model.score, 0)
    assert max(model.asked) < usual.size
    assert is_damaged(Model(usual[:2], {}).score, 0)
