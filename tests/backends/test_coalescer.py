"""The coalescer: the first token at once, then by time or by number, with the counts and the clock kept right."""

import pytest

from backends.coalescer import INTERVAL_S, MAX_TOKENS, TokenCoalescer


class Clock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> TokenCoalescer:
    return TokenCoalescer(clock)


def test_the_first_token_is_due_at_once(tokens: TokenCoalescer) -> None:
    assert tokens.add("a", 1)
    assert tokens.take()[:2] == ("a", 1)


def test_tokens_that_come_fast_are_held_until_the_interval_has_passed(tokens: TokenCoalescer, clock: Clock) -> None:
    tokens.add("a", 1)
    tokens.take()
    clock.now += INTERVAL_S * 0.4
    assert not tokens.add("b", 1)
    clock.now += INTERVAL_S * 0.4
    assert not tokens.add("c", 1)
    clock.now += INTERVAL_S * 0.4
    assert tokens.add("d", 1)
    assert tokens.take()[:2] == ("bcd", 3)


def test_tokens_that_come_slowly_are_each_due_at_once(tokens: TokenCoalescer, clock: Clock) -> None:
    for _ in range(5):
        assert tokens.add("x", 1)
        assert tokens.take()[:2] == ("x", 1)
        clock.now += INTERVAL_S * 1.01


def test_tokens_are_due_when_enough_have_gathered(tokens: TokenCoalescer) -> None:
    tokens.add("a", 1)
    tokens.take()
    assert [tokens.add("x", 1) for _ in range(MAX_TOKENS)] == [False] * (MAX_TOKENS - 1) + [True]
    assert tokens.take()[:2] == ("x" * MAX_TOKENS, MAX_TOKENS)


def test_what_was_taken_is_taken_once(tokens: TokenCoalescer) -> None:
    tokens.add("a", 1)
    tokens.take()
    assert tokens.take()[:2] == ("", 0)


def test_the_time_of_decoding_is_from_the_first_token_to_the_last(tokens: TokenCoalescer, clock: Clock) -> None:
    assert tokens.decode_s is None
    for _ in range(4):
        tokens.add("x", 1)
        clock.now += 0.5
    tokens.add("tail of text without a token", 0)
    assert tokens.decode_s == pytest.approx(1.5)
