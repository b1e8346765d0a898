"""Counts of values in buckets, cheap enough for every token, in the form in which Prometheus reads them."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """How many values were at most each bound, and above them all, and their sum. For one thread."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the buckets' upper ones, rising."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count a value, `count` times."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def add(self, other: "Histogram") -> None:
        """Add what another with the same bounds has counted."""
        self.counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total
