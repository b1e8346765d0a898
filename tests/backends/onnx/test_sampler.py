"""The sampler alone: each setting on logits that are known."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from backends.onnx.interface import Logits
from backends.onnx.sampler import PENALTY_WINDOW, Sampler
from messages.settings import InferenceSettings

OFF: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 7}


def probabilities(*values: float) -> Logits:
    return np.log(np.array(values, dtype=np.float32))


def drawn(logits: Logits, draws: int = 4000, prompt: tuple[int, ...] = (), **settings: Any) -> dict[int, float]:
    """The share of each token in many draws."""
    sampler = Sampler(InferenceSettings(**{**OFF, **settings}), prompt)
    counts = Counter(sampler.pick(logits.copy()) for _ in range(draws))
    return {token: count / draws for token, count in counts.items()}


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    shares = drawn(probabilities(0.5, 0.3, 0.15, 0.05))
    assert [shares[token] for token in range(4)] == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)


def test_temperature_zero_takes_the_most_likely() -> None:
    assert drawn(probabilities(0.3, 0.4, 0.3), temperature=0.0) == {1: 1.0}


@pytest.mark.parametrize("temperature", [1e-300, 1e-6, 1e-4])
def test_a_temperature_near_zero_is_greedy(temperature: float) -> None:
    assert drawn(probabilities(0.3, 0.4, 0.3), temperature=temperature) == {1: 1.0}


def test_a_high_temperature_evens_the_odds_out() -> None:
    assert drawn(probabilities(0.8, 0.2), temperature=2.0)[1] == pytest.approx(1 / 3, abs=0.03)


def test_top_k_leaves_the_k_most_likely() -> None:
    shares = drawn(probabilities(0.1, 0.4, 0.2, 0.3), top_k=2)
    assert shares == pytest.approx({1: 4 / 7, 3: 3 / 7}, abs=0.03)


def test_top_p_leaves_the_fewest_that_reach_p() -> None:
    assert set(drawn(probabilities(0.1, 0.4, 0.2, 0.3), top_p=0.69)) == {1, 3}
    assert set(drawn(probabilities(0.1, 0.4, 0.2, 0.3), top_p=0.71)) == {1, 2, 3}
    assert set(drawn(probabilities(0.1, 0.4, 0.2, 0.3), top_p=1e-9)) == {1}


def test_min_p_leaves_what_is_likely_enough_beside_the_most_likely() -> None:
    assert set(drawn(probabilities(0.1, 0.4, 0.2, 0.3), min_p=0.6)) == {1, 3}


def test_top_p_is_cut_before_temperature_as_in_llama_cpp() -> None:
    assert set(drawn(probabilities(0.1, 0.4, 0.2, 0.3), top_p=0.69, temperature=2.0)) == {1, 3}


def test_tokens_ruled_out_are_never_drawn() -> None:
    logits = probabilities(0.1, 0.4, 0.2, 0.3)
    logits[1] = -np.inf
    assert set(drawn(logits, repeat_penalty=1.3, prompt=(1, 2), min_p=0.01, top_p=0.99)) <= {0, 2, 3}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"repeat_penalty": 2.0}, [1.0, -4.0, 3.0]),
        ({"presence_penalty": 0.5}, [1.5, -2.5, 3.0]),
        ({"frequency_penalty": 0.5}, [1.0, -2.5, 3.0]),
    ],
    ids=["repeat", "presence", "frequency"],
)
def test_penalties_lower_the_tokens_that_came(settings: dict[str, Any], expected: list[float]) -> None:
    logits = np.array([2.0, -2.0, 3.0], dtype=np.float32)
    Sampler(InferenceSettings(temperature=0.0, **settings), (0, 0, 1)).pick(logits)
    assert logits.tolist() == pytest.approx(expected)


def test_penalties_look_back_on_the_latest_tokens_alone() -> None:
    sampler = Sampler(InferenceSettings(temperature=0.0, presence_penalty=2.0), [0] * PENALTY_WINDOW)
    logits = np.array([2.0, 5.0], dtype=np.float32)
    for _ in range(PENALTY_WINDOW):
        sampler.pick(logits.copy())
    last = logits.copy()
    sampler.pick(last)
    assert last.tolist() == [2.0, 3.0]


def test_a_seed_gives_the_same_draws() -> None:
    logits = probabilities(0.25, 0.25, 0.25, 0.25)
    runs = []
    for seed in (1, 1, 2):
        sampler = Sampler(InferenceSettings(**{**OFF, "seed": seed}), ())
        runs.append([sampler.pick(logits.copy()) for _ in range(50)])
    assert runs[0] == runs[1] != runs[2]
