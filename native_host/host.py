"""Everything that one host process has, made in one place at start-up and handed to the handlers.

Above it: the daemon and the stdio loop. Below it: models, jobs, statistics.
"""

import logging
import time
from collections.abc import Awaitable, Callable

from messages.errors import ErrorCode, HostError
from messages.facts import Figures
from messages.replies import Event, HttpOpened
from native_host.background import ActionJobs
from native_host.catalog import Catalog
from native_host.config import Config, Paths
from native_host.engines import EngineProbes
from native_host.jobs import Generations, Job
from native_host.live_figures import LiveFigures
from native_host.managed_model import ManagedModel, ModelLimits
from native_host.memory_sampler import MemorySampler
from native_host.models import ModelTable
from native_host.origins import OriginSettings
from native_host.performance import GenerationMetrics
from native_host.stats_rows import GenerationRecord
from native_host.stats_store import StatsStore

logger = logging.getLogger("tabagent.host")


class Host:
    """The services.

    `broadcast` is set by whoever has the connections, `on_idle` by whoever may leave, `open_http` by whoever may open
    the HTTP door (its port and whether it wants the token, None for each as the configuration says), `http_url` by it.
    """

    def __init__(self, config: Config, paths: Paths) -> None:
        self.config = config
        self.paths = paths
        self.started_at = time.time()
        self.broadcast: Callable[[Event], None] = lambda _event: None
        self.on_idle: Callable[[], None] = lambda: None
        self.open_http: Callable[[int | None, bool | None], Awaitable[HttpOpened]] = _no_door
        self.engines = EngineProbes()
        self.settings = OriginSettings(config.defaults.settings())
        self.stats = StatsStore(paths.stats_file if config.stats.enabled else None, config.stats.retention_days)
        self.live = LiveFigures()
        self.last_figures = Figures()
        self.http_url: str | None = None
        self.is_closing = False
        self.jobs = Generations(
            orphan_grace_s=config.daemon.orphan_grace_s,
            finished_ttl_s=config.daemon.finished_job_ttl_s,
            on_idle=self._became_idle,
        )
        self.background = ActionJobs(config.daemon.finished_job_ttl_s, on_idle=self._became_idle)
        self.models = ModelTable(
            catalog=Catalog([paths.models_dir, *config.models.folders]),
            limits=ModelLimits(
                load_timeout_s=config.worker.load_timeout_s,
                stop_timeout_s=config.worker.stop_timeout_s,
                count_timeout_s=config.worker.count_timeout_s,
                queue_limit=config.daemon.queue_limit,
                cache_path=paths.engine_cache,
            ),
            keep_alive_s=config.models.keep_alive_s,
            max_loaded=config.models.max_loaded,
            on_event=lambda name, fields: self.broadcast(Event(name, fields)),
            on_added=self._model_added,
            on_idle=self._became_idle,
            load=config.load,
        )
        self.memory = MemorySampler(self.models.all, self.stats.record)

    @property
    def has_running_jobs(self) -> bool:
        """True while it generates, or does something in the background."""
        return self.jobs.has_running or self.background.has_running

    @property
    def has_unread_jobs(self) -> bool:
        """True while somebody may yet ask how a job ended."""
        return self.jobs.has_unread or self.background.has_unread

    def _model_added(self) -> None:
        self.memory.watch()

    def _became_idle(self) -> None:
        self.on_idle()

    def figures(self, model: ManagedModel | None) -> Figures:
        """Those of a model's running or last generation, unknown before its first; without a model, of any's last."""
        return model.tracker.get_current_stats() if model else self.last_figures

    async def close(self) -> None:
        """End all generations, each with an error since it is not whole, and workers, and write the statistics."""
        self.is_closing = True
        for job in self.jobs.running():
            job.cancel(HostError(ErrorCode.CANCELLED, "The host was stopped before this was answered; ask again."))
        await self.models.close()
        await self.background.close()
        self.memory.close()
        self.stats.close()

    def generation_over(self, job: Job, model: ManagedModel, metrics: GenerationMetrics) -> None:
        """A generation has ended, well or not: keep its figures, let the model's keep-alive begin."""
        self.last_figures = metrics.figures()
        backend = model.backend_type
        name = str(backend) if backend else model.source.row.name
        source, peak = model.source.name, model.peak_bytes()
        record = GenerationRecord.of(metrics, origin=job.origin, backend=name, model=source, peak_memory=peak)
        self.stats.record(record)
        self.live.add(metrics, backend=name, model=source)
        self.models.release(model)
        self.jobs.retire(job)


async def _no_door(_port: int | None, _wants_token: bool | None) -> HttpOpened:
    raise HostError(ErrorCode.UNSUPPORTED_OPTION, "This host speaks to its one client alone and has no HTTP API.")
