"""A message and its answer on a port that is open, from a page in Chromium."""

from benchmarks import hosts
from benchmarks.lab import BrowserHome
from benchmarks.samples import median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_times
from messages.frames import JsonObject

LIMIT = 1.25
PING: JsonObject = {"id": 1, "action": "ping"}


def measure(sizes: Sizes) -> list[Row]:
    """One row."""
    our_times: list[float] = []
    echo_times: list[float] = []
    for _ in range(sizes.launches):
        with BrowserHome() as home:
            ours, echo = home.open_port(), home.open_port(hosts.ECHO_NAME)
            for port in (ours, echo):
                port.pings(PING, sizes.pings)
            for _ in range(sizes.ping_rounds):
                our_times += ours.pings(PING, sizes.pings)
                echo_times += echo.pings(PING, sizes.pings)
    tails = f"p99 {quantile(our_times, 0.99):.2f} and {quantile(echo_times, 0.99):.2f} ms"
    figure = f"open-port round trip, in Chromium; p50 of {len(our_times)} ({tails})"
    return [at_most_times(figure, "ms", median(our_times), median(echo_times), LIMIT)]
