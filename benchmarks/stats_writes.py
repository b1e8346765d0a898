"""What the statistics cost a token: tokens of another process, in a daemon's loop, with and without many writes.

The sender stamps each token with the time at which it leaves; the loop does with it what a daemon does (figures, the
job's buffer, a frame) and looks at the clock. Meanwhile it records generations, or goes through the same motions
without recording, in turns.
"""

import asyncio
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.samples import alternate, median, quantile
from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most_more
from messages.frames import encode
from messages.replies import Partial
from native_host.jobs import Job
from native_host.live_figures import LiveFigures
from native_host.performance import GenerationMetrics, PerformanceTracker
from native_host.process_memory import peak_resident_bytes
from native_host.stats_rows import GenerationRecord
from native_host.stats_store import StatsStore

WRITES_PER_S = 1000
TOKENS_PER_S = 500
LIMIT_MS = 0.1

_STAMP = struct.Struct("=d")
_READ_BYTES = 1 << 16
_TICK_S = 0.001
_EXIT_TIMEOUT_S = 10.0

_SENDER = """
import os, struct, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
start = time.monotonic()
for number in range(int(rate * seconds)):
    ahead = start + number / rate - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
    os.write(1, struct.pack("=d", time.monotonic()))
"""


def measure(sizes: Sizes) -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        store = StatsStore(Path(folder) / "stats.sqlite3")
        record = _recorder(store)
        rounds = alternate(
            sizes.stats_rounds,
            lambda _: _lags_ms(record, sizes.stats_seconds),
            lambda _: _lags_ms(_record_nothing, sizes.stats_seconds),
        )
        written = store.aggregate().count
        store.close()
    (ours, bare) = (median(quantile(lags, 0.99) for lags in side) for side in rounds)
    middles = " and ".join(f"{median(lag for lags in side for lag in lags):.3f}" for side in rounds)
    rate = written / (sizes.stats_rounds * sizes.stats_seconds)
    figure = (
        f"a token's way through the loop with {rate:,.0f} statistics writes/s; without; "
        f"p99 of {TOKENS_PER_S} tokens/s, median of {sizes.stats_rounds} rounds (p50 {middles} ms)"
    )
    return [at_most_more(figure, "ms", ours, bare, LIMIT_MS)]


def _lags_ms(record: Callable[[], None], seconds: float) -> list[float]:
    """Milliseconds from each token's leaving its process until the daemon has done with it, generations beside it."""
    command = [sys.executable, "-c", _SENDER, str(TOKENS_PER_S), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as sender:
        assert sender.stdout is not None
        return asyncio.run(_receive(sender.stdout.fileno(), record, seconds + _EXIT_TIMEOUT_S))


async def _receive(descriptor: int, record: Callable[[], None], timeout_s: float) -> list[float]:
    tokens = _Tokens()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, tokens.read, descriptor)
    writer = asyncio.create_task(_write(record))
    try:
        async with asyncio.timeout(timeout_s):
            await tokens.ended.wait()
    finally:
        writer.cancel()
        loop.remove_reader(descriptor)
    return tokens.lags_ms


async def _write(record: Callable[[], None]) -> None:
    start, done = time.monotonic(), 0
    while True:
        await asyncio.sleep(_TICK_S)
        due = int((time.monotonic() - start) * WRITES_PER_S)
        for _ in range(due - done):
            record()
        done = due


def _recorder(store: StatsStore) -> Callable[[], None]:
    """What the host does with the figures of a generation that has ended."""
    tracker, live = PerformanceTracker(), LiveFigures()
    worker = os.getpid()

    def record() -> None:
        metrics = tracker.start_generation(12)
        tracker.increment_output_tokens(1, metrics)
        tracker.complete_generation(metrics, finish_reason="stop")
        peak = peak_resident_bytes(worker)
        store.record(GenerationRecord.of(metrics, origin="cli", backend="ECHO", model="echo", peak_memory=peak))
        live.add(metrics, backend="ECHO", model="echo")

    return record


def _record_nothing() -> None:
    pass


class _Tokens:
    """The token's way through a daemon."""

    def __init__(self) -> None:
        self.lags_ms: list[float] = []
        self.ended = asyncio.Event()
        self._tracker = PerformanceTracker()
        self._metrics: GenerationMetrics = self._tracker.start_generation()
        self._job = Job("cli", "echo", background=False, grace_s=60.0)
        self._pending = b""

    def read(self, descriptor: int) -> None:
        """Take what has come."""
        data = os.read(descriptor, _READ_BYTES)
        if not data:
            self.ended.set()
            return
        data = self._pending + data
        whole = len(data) // _STAMP.size * _STAMP.size
        self._pending = data[whole:]
        for (sent,) in _STAMP.iter_unpack(data[:whole]):
            self._take()
            self.lags_ms.append((time.monotonic() - sent) * 1000)

    def _take(self) -> None:
        self._tracker.increment_output_tokens(1, self._metrics)
        seq = self._job.next_seq
        self._job.add_text("word ", 1)
        encode(Partial("r", self._job.job_id, seq, "word ", seq + 1).to_wire())
