"""Log-probabilities of tokens, against the same computed in the plainest way, in double precision."""

import numpy as np
import pytest

from backends.logprobs import FLOOR, LogprobRecorder, spelled


def letters(token: int) -> tuple[str, bytes | None]:
    return spelled(bytes([97 + token])) if token < 26 else ("<end>", None)


def test_a_token_s_is_the_logarithm_of_its_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 8, 27).astype(np.float32)
    wide = logits.astype(np.float64)
    expected = np.log(np.exp(wide) / np.exp(wide).sum())
    told = LogprobRecorder(27, letters).record(logits, 3)
    assert (told.token, told.bytes) == ("d", (100,))
    assert told.logprob == pytest.approx(expected[3], abs=1e-5)
    assert [one.logprob for one in told.top] == pytest.approx(sorted(expected, reverse=True), abs=1e-5)
    assert told.top[0].token == letters(int(wide.argmax()))[0]


def test_scores_of_any_size_and_sign_give_finite_numbers() -> None:
    logits = np.array([3e38, -3e38, -np.inf, 0], dtype=np.float32)
    with np.errstate(over="ignore"):
        told = LogprobRecorder(4, letters).record(logits, 0)
    assert told.logprob == 0
    assert [one.logprob for one in told.top] == [0, FLOOR, FLOOR, FLOOR]
    assert LogprobRecorder(0, letters).record(np.array([np.nan, 1], dtype=np.float32), 0).logprob == FLOOR


def test_only_as_many_of_the_likeliest_are_told_as_were_asked_for() -> None:
    logits = np.arange(27, dtype=np.float32)
    assert LogprobRecorder(0, letters).record(logits, 1).top == ()
    assert [one.token for one in LogprobRecorder(2, letters).record(logits, 1).top] == ["<end>", "z"]
    assert len(LogprobRecorder(100, letters).record(logits, 1).top) == 27


def test_the_scores_are_left_as_they_are() -> None:
    logits = np.arange(27, dtype=np.float32)
    LogprobRecorder(5, letters).record(logits, 1)
    assert (logits == np.arange(27)).all()


def test_a_special_token_writes_no_bytes_and_has_its_name() -> None:
    told = LogprobRecorder(0, letters).record(np.zeros(27, dtype=np.float32), 26)
    assert (told.token, told.bytes) == ("<end>", None)


def test_a_piece_of_a_character_keeps_its_bytes() -> None:
    assert spelled("é".encode()[:1]) == ("\ufffd", b"\xc3")
