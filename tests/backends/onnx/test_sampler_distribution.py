"""What the sampler draws, held against the distribution by which each setting is defined, one token at a time."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from backends.onnx.interface import Logits
from backends.onnx.sampler import PENALTY_WINDOW, Sampler
from messages.settings import InferenceSettings

VOCABULARY = 40
DRAWS = 12_000
TOLERANCE = 0.04
"""Half the sum of all differences; 12,000 true draws of 40 tokens differ by about 0.02."""

OFF: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 7}
CASES: dict[str, dict[str, Any]] = {
    "all off": {},
    "temperature low": {"temperature": 0.4},
    "temperature high": {"temperature": 1.9},
    "top_k": {"top_k": 5},
    "top_k of all": {"top_k": VOCABULARY},
    "top_k beyond all": {"top_k": 1000},
    "top_p": {"top_p": 0.7},
    "top_p tiny": {"top_p": 0.01},
    "min_p": {"min_p": 0.2},
    "min_p of the best alone": {"min_p": 1.0},
    "repeat_penalty": {"repeat_penalty": 1.7},
    "presence_penalty": {"presence_penalty": 1.2},
    "presence_penalty negative": {"presence_penalty": -1.0},
    "frequency_penalty": {"frequency_penalty": 0.6},
    "all penalties": {"repeat_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.3},
    "top_k and top_p": {"top_k": 12, "top_p": 0.8},
    "top_p and min_p": {"top_p": 0.9, "min_p": 0.1},
    "top_p before temperature": {"top_p": 0.6, "temperature": 1.8},
    "everything": {
        "temperature": 1.4,
        "top_k": 20,
        "top_p": 0.9,
        "min_p": 0.03,
        "repeat_penalty": 1.2,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.2,
    },
}
RECENT = [3, 3, 3, 8, 8, 11, 20, 20, 20, 20]


def some_logits(seed: int) -> Logits:
    """Logits of both signs, no two alike."""
    return np.random.default_rng(seed).normal(0.0, 1.6, VOCABULARY).astype(np.float32)


def softmax(scores: Sequence[float]) -> list[float]:
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    return [weight / sum(weights) for weight in weights]


def penalised(scores: Sequence[float], settings: InferenceSettings, recent: Sequence[int]) -> list[float]:
    """llama.cpp's penalties (`llama_sampler_penalties_apply`)."""
    result, counts = list(scores), Counter(recent[-PENALTY_WINDOW:])
    for token, count in counts.items():
        score = result[token]
        score = score * settings.repeat_penalty if score <= 0 else score / settings.repeat_penalty
        result[token] = score - count * settings.frequency_penalty - settings.presence_penalty
    return result


def distribution(logits: Logits, settings: InferenceSettings, recent: Sequence[int]) -> list[float]:
    """The probability of every token."""
    scores = penalised([float(score) for score in logits], settings, recent)
    kept = sorted(range(len(scores)), key=lambda token: -scores[token])
    if settings.top_k > 0:
        kept = kept[: settings.top_k]
    shares = softmax([scores[token] for token in kept])
    reached, count = 0.0, 0
    while count < len(kept) and reached < settings.top_p:
        reached += shares[count]
        count += 1
    kept = kept[: max(1, count)]
    shares = softmax([scores[token] for token in kept])
    kept = [token for token, share in zip(kept, shares, strict=True) if share >= settings.min_p * shares[0]]
    final = dict(zip(kept, softmax([scores[token] / settings.temperature for token in kept]), strict=True))
    return [final.get(token, 0.0) for token in range(len(scores))]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_tokens_are_drawn_as_the_settings_say(case: str, seed: int) -> None:
    settings = InferenceSettings(**{**OFF, **CASES[case], "seed": seed})
    logits = some_logits(seed)
    expected = distribution(logits, settings, RECENT)
    drawn: Counter[int] = Counter()
    sampler = Sampler(settings, RECENT)
    for _ in range(DRAWS):
        drawn[sampler.pick(logits.copy())] += 1
        sampler._recent = list(RECENT)
    shares = [drawn[token] / DRAWS for token in range(VOCABULARY)]
    assert {token for token, share in enumerate(shares) if share} <= {i for i, p in enumerate(expected) if p}
    assert all(share for share, p in zip(shares, expected, strict=True) if p > 0.002)
    assert sum(abs(share - p) for share, p in zip(shares, expected, strict=True)) / 2 < TOLERANCE


@pytest.mark.parametrize("case", ["repeat_penalty", "frequency_penalty", "all penalties"])
def test_greedy_takes_the_best_after_the_penalties(case: str) -> None:
    settings = InferenceSettings(**{**OFF, **CASES[case], "temperature": 0.0})
    for seed in range(20):
        logits = some_logits(seed)
        scores = penalised([float(score) for score in logits], settings, RECENT)
        assert Sampler(settings, RECENT).pick(logits) == scores.index(max(scores))


def test_penalties_follow_the_tokens_that_are_drawn() -> None:
    settings = InferenceSettings(**{**OFF, "frequency_penalty": 0.5, "seed": 3})
    sampler, recent, logits = Sampler(settings, []), list[int](), some_logits(3)
    for _ in range(200):
        allowed = distribution(logits, settings, recent)
        written = logits.copy()
        token = sampler.pick(written)
        assert allowed[token] > 0
        expected = penalised([float(score) for score in logits], settings, recent)
        assert written.tolist() == pytest.approx(expected, abs=1e-4)
        recent.append(token)


def test_tokens_that_a_constraint_rules_out_are_not_drawn_and_the_others_keep_their_odds() -> None:
    settings = InferenceSettings(**{**OFF, "top_p": 0.9, "temperature": 1.3})
    logits = some_logits(5)
    logits[::2] = -np.inf
    odd = distribution(logits[1::2], settings, [])
    sampler = Sampler(settings, [])
    drawn = Counter(sampler.pick(logits.copy()) for _ in range(DRAWS))
    assert not any(token % 2 == 0 for token in drawn)
    shares = [drawn[1 + 2 * place] / DRAWS for place in range(len(odd))]
    assert sum(abs(share - p) for share, p in zip(shares, odd, strict=True)) / 2 < TOLERANCE
