"""How fast generations are: the figures of one, and of all that a model has done.

Above it: jobs and models. `GenerationMetrics` belongs to one generation, `PerformanceTracker` to one loaded model.
Both live in one thread and cost a few microseconds a call. Times are those of a monotonic clock, in seconds;
figures are in ms.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from messages.facts import Aggregate, Figures, Percentiles, Performance, PictureFigures
from native_host.histogram import Histogram

Outcome = Literal["success", "error", "cancelled"]

GAP_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

WINDOW = 1000
"""Generations that a tracker's percentiles are taken over: the newest ones."""


@dataclass(slots=True)
class GenerationMetrics:
    """One generation. started_at is the request's arrival at the daemon; None is "not known", or "not yet".

    gaps are the seconds from each token to the next as they came; those that came together share the time before them.
    """

    started_at: float
    input_tokens: int | None = None
    output_tokens: int = 0
    cached_tokens: int | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    completed_at: float | None = None
    outcome: Outcome | None = None
    finish_reason: str | None = None
    timed_tokens: int = 0
    first_batch_tokens: int = 0
    decode_s: float | None = None
    left_queue_at: float | None = None
    reasoning_tokens: int | None = None
    pictures: tuple[PictureFigures, ...] | None = None
    gaps: Histogram = field(default_factory=lambda: Histogram(GAP_BOUNDS_S))

    @property
    def queue_time(self) -> float | None:
        """Milliseconds from the request's arrival until the engine got it: other generations' time, or the load's."""
        return None if self.left_queue_at is None else (self.left_queue_at - self.started_at) * 1000

    @property
    def time_to_first_token(self) -> float | None:
        """Milliseconds from the request's arrival to the first token."""
        return None if self.first_token_at is None else (self.first_token_at - self.started_at) * 1000

    @property
    def tokens_per_second(self) -> float | None:
        """The rate of decoding: (n - 1) tokens over the time from the first of n to the last.

        The first token ends the prefill and took no time of the decode, so it is not counted: n over the same time
        would be too high by 1 / (n - 1). The time is the engine's own once it is known (tokens reach the daemon in
        batches), until then that of arrival, without the first batch. None with fewer than 2 tokens or no time.
        """
        decode_s = self.decode_s
        if decode_s is None and self.first_token_at is not None and self.last_token_at is not None:
            decode_s = self.last_token_at - self.first_token_at
        tokens = self.timed_tokens - self.first_batch_tokens
        return tokens / decode_s if decode_s and tokens > 0 else None

    @property
    def total_time(self) -> float | None:
        """Milliseconds from the request's arrival to its end; None until it has ended."""
        return None if self.completed_at is None else (self.completed_at - self.started_at) * 1000

    def figures(self) -> Figures:
        """The figures as the wire has them."""
        return Figures(
            time_to_first_token=self.time_to_first_token,
            tokens_per_second=self.tokens_per_second,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            total_time=self.total_time,
            cached_tokens=self.cached_tokens,
            reasoning_tokens=self.reasoning_tokens,
            finish_reason=self.finish_reason,
            pictures=self.pictures,
        )


class PerformanceTracker:
    """Follows the generations of one model.

    Methods that take a `generation` act on the current one without it: the newest that the engine has, else the newest
    that waits, else the last that ended.
    `on_complete` is called once for each generation, when it has ended, whatever its outcome.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_complete: Callable[[GenerationMetrics], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_complete = on_complete
        self._running: list[GenerationMetrics] = []
        self._last: GenerationMetrics | None = None
        self._totals = Aggregate()
        self._window: deque[tuple[float | None, float | None]] = deque(maxlen=WINDOW)

    def start_generation(
        self, input_tokens: int | None = None, *, arrived_at: float | None = None
    ) -> GenerationMetrics:
        """Begin one; `arrived_at` is the clock's time at which the request came, now if left out."""
        started_at = self._clock() if arrived_at is None else arrived_at
        generation = GenerationMetrics(started_at=started_at, input_tokens=input_tokens)
        self._running.append(generation)
        return generation

    def mark_queue_left(self, generation: GenerationMetrics | None = None) -> None:
        """The engine gets the request now."""
        current = generation or self._current()
        if current is not None:
            current.left_queue_at = self._clock()

    def mark_first_token(self, generation: GenerationMetrics | None = None) -> None:
        """The first token is here; later calls change nothing."""
        current = generation or self._current()
        if current is not None and current.first_token_at is None:
            current.first_token_at = self._clock()

    def increment_output_tokens(self, count: int = 1, generation: GenerationMetrics | None = None) -> None:
        """`count` tokens have just come; the first call marks the first token too. 0 changes nothing."""
        current = generation or self._current()
        if current is None or current.completed_at is not None or count <= 0:
            return
        now = self._clock()
        if current.first_token_at is None:
            current.first_token_at = now
        if not current.timed_tokens:
            current.first_batch_tokens = count
        if current.last_token_at is not None:
            current.gaps.observe((now - current.last_token_at) / count, count)
        current.last_token_at = now
        current.timed_tokens += count
        current.output_tokens += count

    def complete_generation(
        self,
        generation: GenerationMetrics | None = None,
        *,
        outcome: Outcome = "success",
        finish_reason: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        decode_s: float | None = None,
    ) -> None:
        """End one; the second time changes nothing. What is given here is the engine's own and wins."""
        current = generation or self._current()
        if current is None or current.completed_at is not None:
            return
        current.completed_at = self._clock()
        current.outcome = outcome
        current.finish_reason = finish_reason
        current.input_tokens = current.input_tokens if input_tokens is None else input_tokens
        current.output_tokens = current.output_tokens if output_tokens is None else output_tokens
        current.cached_tokens = current.cached_tokens if cached_tokens is None else cached_tokens
        current.decode_s = decode_s
        self._retire(current)

    def get_current_stats(self) -> Figures:
        """The figures of the generation that runs, else of the last; all unknown before the first."""
        current = self._current()
        return Figures() if current is None else current.figures()

    def get_aggregate_stats(self) -> Aggregate:
        """Counts and sums over all that ended; percentiles over the newest `WINDOW` of them."""
        return self._totals.model_copy(
            update={
                "time_to_first_token": percentiles([ttft for ttft, _ in self._window if ttft is not None]),
                "tokens_per_second": percentiles([rate for _, rate in self._window if rate is not None]),
            }
        )

    def performance(self) -> Performance:
        """Both, as a model's state has them."""
        return Performance(current=self.get_current_stats(), aggregate=self.get_aggregate_stats())

    def _current(self) -> GenerationMetrics | None:
        with_engine = [running for running in self._running if running.left_queue_at is not None]
        return next(reversed(with_engine or self._running), self._last)

    def _retire(self, generation: GenerationMetrics) -> None:
        self._running = [running for running in self._running if running is not generation]
        self._last = generation
        self._window.append((generation.time_to_first_token, generation.tokens_per_second))
        self._totals = _added(self._totals, generation)
        if self._on_complete is not None:
            self._on_complete(generation)


def percentiles(values: Sequence[float]) -> Percentiles:
    """p50, p95 and p99 with linear interpolation between neighbours; all None without values."""
    if not values:
        return Percentiles()
    ordered = sorted(values)
    return Percentiles(p50=_quantile(ordered, 0.50), p95=_quantile(ordered, 0.95), p99=_quantile(ordered, 0.99))


def _quantile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _added(totals: Aggregate, generation: GenerationMetrics) -> Aggregate:
    return Aggregate(
        count=totals.count + 1,
        succeeded=totals.succeeded + (generation.outcome == "success"),
        failed=totals.failed + (generation.outcome == "error"),
        cancelled=totals.cancelled + (generation.outcome == "cancelled"),
        input_tokens=totals.input_tokens + (generation.input_tokens or 0),
        output_tokens=totals.output_tokens + generation.output_tokens,
        cached_tokens=totals.cached_tokens + (generation.cached_tokens or 0),
        total_time=totals.total_time + (generation.total_time or 0.0),
    )
