"""What the statistics' file holds: a row for each generation, a row now and then for each loaded model's memory.

Above it: `native_host.stats_database`, `native_host.stats_queries`. Figures only: no text of a prompt or an answer.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields

from native_host.performance import GenerationMetrics


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """One generation: time is that of its end in seconds since the epoch, backend a BackendType's name.

    The figures are as in `messages.facts`; queue_time is ms from the request's arrival until the engine got it,
    peak_memory the most bytes that its worker had resident until then. What is not known is None.
    """

    time: float
    origin: str
    backend: str
    model: str
    outcome: str
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    time_to_first_token: float | None = None
    tokens_per_second: float | None = None
    total_time: float | None = None
    queue_time: float | None = None
    peak_memory: int | None = None

    @classmethod
    def of(
        cls, metrics: GenerationMetrics, *, origin: str, backend: str, model: str, peak_memory: int | None = None
    ) -> "GenerationRecord":
        """The row of a generation that has ended now."""
        return cls(
            time=time.time(),
            origin=origin,
            backend=backend,
            model=model,
            outcome=metrics.outcome or "error",
            finish_reason=metrics.finish_reason,
            input_tokens=metrics.input_tokens,
            output_tokens=metrics.output_tokens,
            cached_tokens=metrics.cached_tokens,
            time_to_first_token=metrics.time_to_first_token,
            tokens_per_second=metrics.tokens_per_second,
            total_time=metrics.total_time,
            queue_time=metrics.queue_time,
            peak_memory=peak_memory,
        )


MEMORY_REPEAT_S = 300.0
"""How long a memory sample stands for those after it that differ from it by next to nothing, in seconds."""


@dataclass(frozen=True, slots=True)
class MemorySample:
    """A loaded model's resident memory, in bytes, at a time in seconds since the epoch; 0 once it is unloaded."""

    time: float
    backend: str
    model: str
    resident_bytes: int


StatsRow = GenerationRecord | MemorySample

GENERATION_COLUMNS = tuple(field.name for field in fields(GenerationRecord))
MEMORY_COLUMNS = tuple(field.name for field in fields(MemorySample))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: those that equal every name that is not None, from `since` on and before `until` (epoch seconds)."""

    backend: str | None = None
    model: str | None = None
    origin: str | None = None
    since: float | None = None
    until: float | None = None

    @property
    def sql(self) -> str:
        """The WHERE clause, or nothing."""
        conditions = [condition for condition, _ in self._conditions()]
        return " WHERE " + " AND ".join(conditions) if conditions else ""

    @property
    def values(self) -> list[str | float]:
        """The clause's parameters."""
        return [value for _, value in self._conditions()]

    def _conditions(self) -> Iterator[tuple[str, str | float]]:
        for condition, value in (
            ("backend = ?", self.backend),
            ("model = ?", self.model),
            ("origin = ?", self.origin),
            ("time >= ?", self.since),
            ("time < ?", self.until),
        ):
            if value is not None:
                yield condition, value
