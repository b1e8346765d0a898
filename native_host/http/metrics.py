"""GET /metrics: what Prometheus scrapes, from a registry of its own that is made for each scrape.

Above it: `native_host.http.app`. Below it: `native_host.live_figures`, which counts since the daemon's start whether
anybody scrapes or not, so that no token waits for this module.

Source: https://prometheus.io/docs/practices/naming/ (base units, `_total`), prometheus-client's custom collectors.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from messages.errors import ErrorCode
from messages.facts import JobState
from native_host import runtime
from native_host.histogram import Histogram
from native_host.host import Host
from native_host.http.client import host_of, origin_of
from native_host.http.errors import HttpError
from native_host.jobs import OVER
from native_host.live_figures import ModelFigures
from native_host.origins import OWNER_ORIGINS

router = APIRouter()

_LABELS = ("backend", "model")
_OUTCOMES = ("success", "error", "cancelled")
_RUNNING = tuple(state for state in JobState if state not in OVER)

_HISTOGRAMS: tuple[tuple[str, str, Callable[[ModelFigures], Histogram]], ...] = (
    (
        "tabagent_time_to_first_token_seconds",
        "From a request's arrival to its first token.",
        lambda figures: figures.first_token_s,
    ),
    (
        "tabagent_inter_token_seconds",
        "From each token to the next; tokens that came together share the time before them.",
        lambda figures: figures.gap_s,
    ),
    ("tabagent_tokens_per_second", "A generation's rate of decoding.", lambda figures: figures.rate),
    (
        "tabagent_queue_seconds",
        "From a request's arrival until the engine got it.",
        lambda figures: figures.queue_s,
    ),
)

_TOKENS: tuple[tuple[str, str, Callable[[ModelFigures], int]], ...] = (
    ("tabagent_input_tokens", "Prompt tokens.", lambda figures: figures.input_tokens),
    ("tabagent_cached_tokens", "Prompt tokens that were in the KV cache from before.", lambda f: f.cached_tokens),
    ("tabagent_output_tokens", "Generated tokens.", lambda figures: figures.output_tokens),
)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Figures since the daemon's start, in Prometheus' text format or OpenMetrics, as the scraper asks."""
    if origin_of(request) not in OWNER_ORIGINS:
        raise HttpError(ErrorCode.ORIGIN_FORBIDDEN, "Metrics are those of all origins; pages of others may not ask.")
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(make_registry(host_of(request))), headers={"Content-Type": content_type})


def make_registry(host: Host) -> CollectorRegistry:
    """A registry with what a host tells now."""
    registry = CollectorRegistry()
    registry.register(HostCollector(host))
    ProcessCollector(registry=registry)
    return registry


class HostCollector(Collector):
    """Reads a host's figures as metrics. To be collected in the event loop."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterator[Metric]:
        """Each metric with its values."""
        yield InfoMetricFamily("tabagent_host", "The host.", value={"version": runtime.VERSION})
        for name, text, choose in _HISTOGRAMS:
            yield self._histogram(name, text, choose)
        yield self._outcomes()
        for name, text, count in _TOKENS:
            yield self._tokens(name, text, count)
        yield self._memory()
        yield self._running()

    def _histogram(self, name: str, text: str, choose: Callable[[ModelFigures], Histogram]) -> Metric:
        family = HistogramMetricFamily(name, text, labels=_LABELS)
        for labels, figures in self._host.live.models.items():
            histogram = choose(figures)
            family.add_metric(_printable(*labels), _buckets(histogram), histogram.total)
        return family

    def _outcomes(self) -> Metric:
        family = CounterMetricFamily("tabagent_generations", "Generations that ended.", labels=(*_LABELS, "outcome"))
        for labels, figures in self._host.live.models.items():
            for outcome in _OUTCOMES:
                family.add_metric(_printable(*labels, outcome), figures.outcomes[outcome])
        return family

    def _tokens(self, name: str, text: str, count: Callable[[ModelFigures], int]) -> Metric:
        family = CounterMetricFamily(name, text, labels=_LABELS)
        for labels, figures in self._host.live.models.items():
            family.add_metric(_printable(*labels), count(figures))
        return family

    def _memory(self) -> Metric:
        text = "Resident memory of a loaded model's worker."
        family = GaugeMetricFamily("tabagent_model_resident_memory_bytes", text, labels=_LABELS)
        for model in self._host.models.all():
            resident = model.resident_bytes()
            if resident is not None:
                backend = str(model.backend_type or model.source.row.name)
                family.add_metric(_printable(backend, model.source.name), resident)
        return family

    def _running(self) -> Metric:
        family = GaugeMetricFamily("tabagent_running_jobs", "Generations that wait or run.", labels=("state",))
        counts = Counter(job.state for job in self._host.jobs.running())
        for state in _RUNNING:
            family.add_metric([str(state)], counts[state])
        return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(map(float, histogram.counts)), strict=True))


def _printable(*labels: str) -> list[str]:
    """Labels that can be written as UTF-8, whatever a file's name is."""
    return [label.encode("utf-8", "replace").decode("utf-8") for label in labels]
