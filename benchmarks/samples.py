"""Statistics of repeated measurements."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); 0.99 for p99."""
    ordered = sorted(values)
    rank = max(1, -(-int(share * 1000) * len(ordered) // 1000))
    return ordered[min(rank, len(ordered)) - 1]


def alternate(rounds: int, ours: Callable[[int], A], reference: Callable[[int], B]) -> tuple[list[A], list[B]]:
    """Run ours and the reference in turns, so that a noisy machine hits both alike; each gets the round's number."""
    pairs = [(ours(number), reference(number)) for number in range(rounds)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def median_ratio(ours: Sequence[float], reference: Sequence[float]) -> float:
    """The median of ours over the reference's, round by round: a machine that is slow for a while is slow for both."""
    return median(mine / theirs for mine, theirs in zip(ours, reference, strict=True))


__all__ = ["alternate", "median", "median_ratio", "quantile"]
