"""What this daemon's generations were like since it started, for each backend and model: what `/metrics` tells.

Above it: the host, which adds each generation at its end, and `native_host.http.metrics`. Lives in the event loop.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from native_host.histogram import Histogram
from native_host.performance import GAP_BOUNDS_S, GenerationMetrics

FIRST_TOKEN_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
QUEUE_BOUNDS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
RATE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


@dataclass(slots=True)
class ModelFigures:
    """One model on one backend. Times in seconds, rates in tokens a second; outcomes are those of the statistics."""

    first_token_s: Histogram = field(default_factory=lambda: Histogram(FIRST_TOKEN_BOUNDS_S))
    gap_s: Histogram = field(default_factory=lambda: Histogram(GAP_BOUNDS_S))
    rate: Histogram = field(default_factory=lambda: Histogram(RATE_BOUNDS))
    queue_s: Histogram = field(default_factory=lambda: Histogram(QUEUE_BOUNDS_S))
    outcomes: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def add(self, metrics: GenerationMetrics) -> None:
        """A generation has ended; what is not known of it is not counted."""
        if metrics.time_to_first_token is not None:
            self.first_token_s.observe(metrics.time_to_first_token / 1000)
        if metrics.tokens_per_second is not None:
            self.rate.observe(metrics.tokens_per_second)
        if metrics.queue_time is not None:
            self.queue_s.observe(metrics.queue_time / 1000)
        self.gap_s.add(metrics.gaps)
        self.outcomes[metrics.outcome or "error"] += 1
        self.input_tokens += metrics.input_tokens or 0
        self.cached_tokens += metrics.cached_tokens or 0
        self.output_tokens += metrics.output_tokens


class LiveFigures:
    """All models that have generated since the daemon started."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelFigures] = {}

    @property
    def models(self) -> Mapping[tuple[str, str], ModelFigures]:
        """By backend and model."""
        return self._models

    def add(self, metrics: GenerationMetrics, *, backend: str, model: str) -> None:
        """A generation has ended."""
        self._models.setdefault((backend, model), ModelFigures()).add(metrics)
