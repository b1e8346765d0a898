"""A stream far faster than any engine: all of it arrives, in order and in time."""

from itertools import pairwise

from benchmarks.lab import BrowserHome
from benchmarks.samples import median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row

RATE = 20_000
LIMIT_MS = 20.0


def measure(sizes: Sizes) -> list[Row]:
    """One row."""
    with BrowserHome() as home:
        port = home.open_port()
        name = port.load("echo", backend="echo", options={"tokens_per_second": RATE})
        runs = [port.burst(name, sizes.burst_tokens) for _ in range(sizes.burst_rounds)]
    lags = [lag for run in runs for lag in lags_ms(run["arrivals"])]
    complete = all(run["complete"] for run in runs)
    middle = median(lags)
    return [
        Row(
            f"echo of {sizes.burst_tokens:,} tokens at {RATE:,} tokens/s to a Chromium page, lag",
            f"{middle:.1f} ms median, {quantile(lags, 0.99):.1f} ms p99",
            "-",
            "complete, in order" if complete else "**not complete or not in order**",
            f"complete, in order, median <= {LIMIT_MS:g} ms",
            complete and middle <= LIMIT_MS,
        )
    ]


def lags_ms(arrivals: list[tuple[float, int]]) -> list[float]:
    """How late each token came: token n is due n / rate after the first one's arrival.

    arrivals has, for each partial, its time in ms and the tokens so far.
    """
    start, _ = arrivals[0]
    return [
        time - (start + number * 1000 / RATE)
        for (_, before), (time, after) in pairwise([(0.0, 0), *arrivals])
        for number in range(before, after)
    ]
