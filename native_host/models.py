"""The table of loaded models: load, find, unload, keep-alive, and the limit on how many there are.

Above it: handlers. Below it: `native_host.managed_model`, `native_host.loaded_options`, `native_host.load_defaults`
and `native_host.catalog`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from messages.errors import ErrorCode, HostError
from messages.facts import LoadState
from messages.options import LoadOptions
from messages.wording import plural
from native_host.catalog import ECHO, Catalog, is_same_file
from native_host.config_load import LoadConfig
from native_host.config_sections import FOREVER_S
from native_host.load_defaults import LoadDefaults
from native_host.loaded_options import after_crash, kept_alive, refuse_other_options
from native_host.managed_model import ManagedModel, ModelLimits
from native_host.model_source import ModelSource
from native_host.performance import PerformanceTracker

logger = logging.getLogger("tabagent.models")

FIRST_USE_S = 60.0
"""How long a model that goes after each use (keep-alive 0) waits for its first, in seconds."""

LOADING_S = 1.0
"""How long at least a model waits until it is looked again whether it has loaded, in seconds: keep-alive may be 0."""

EventListener = Callable[[str, dict[str, str | int | float | bool | None]], None]


class ModelTable:
    """Models by name. Lives in the event loop.

    `on_event` hears of crashes and unloads; `on_added` is called for each new model, `on_idle` when the table has
    become empty. `load` is what models are loaded with where their load says nothing.
    """

    def __init__(
        self,
        catalog: Catalog,
        limits: ModelLimits,
        keep_alive_s: float,
        max_loaded: int,
        on_event: EventListener,
        on_added: Callable[[], None],
        on_idle: Callable[[], None],
        load: LoadConfig,
    ) -> None:
        self.catalog = catalog
        self.defaults = LoadDefaults(load, catalog)
        self._limits = limits
        self._keep_alive_s = keep_alive_s
        self._max_loaded = max_loaded
        self._on_event = on_event
        self._on_added = on_added
        self._on_idle = on_idle
        self._models: dict[str, ManagedModel] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closing: dict[asyncio.Task[None], ManagedModel] = {}
        self._active: str | None = None
        self._went: dict[tuple[Path, str], LoadOptions] = {}
        """The options that models were loaded with which went by themselves, by file and backend."""

    @property
    def active(self) -> ManagedModel | None:
        """The model that a request means which names none: the last one loaded or used."""
        return self._models.get(self._active) if self._active else None

    def all(self) -> list[ManagedModel]:
        """All models, in the order of loading."""
        return list(self._models.values())

    async def load(self, name: str, backend: str, options: LoadOptions) -> tuple[ManagedModel, bool]:
        """Begin to load a model, or find it loaded (then False), without waiting until it is ready."""
        found = self._lookup(name)
        if found is None:
            known = self.catalog.resolve(name, backend)
            source = ModelSource(*known, options, self.defaults.of(*known))
            found = self._of_source(source)
        if found is not None:
            source = found.source
        if found is not None and found.state is not LoadState.CRASHED:
            refuse_other_options(found, backend, options)
            found.source = replace(source, asked=kept_alive(source.asked, options))
            self._use(found)
            return found, False
        if found is not None:
            source = replace(source, asked=after_crash(source.asked, options))
            await self._remove(found)
        source = self._by_free_name(source)
        self._make_room()
        self._went.pop((source.path, source.row.name), None)
        return self._add(source), True

    def options_before(self, name: str) -> LoadOptions:
        """For who uses a model without having loaded it: those of its load if it went by itself, else none."""
        if self._lookup(name) is not None:
            return LoadOptions()
        try:
            _, path, row = self.catalog.resolve(name, "auto")
        except HostError:  # its load says so
            return LoadOptions()
        return self._went.get((path, row.name), LoadOptions())

    def find(self, name: str | None) -> ManagedModel:
        """The model a request means; HostError `model_not_loaded`, or `no_active_backend` if it names none."""
        if name is None:
            if self.active is None:
                raise HostError(ErrorCode.NO_ACTIVE_BACKEND, "No model is loaded; send load first.")
            return self.active
        found = self._lookup(name)
        if found is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, f"{name} is not loaded; send load first.", model=name)
        return found

    def name_of(self, name: str) -> str:
        """The name of the model of this name or path; what is not loaded has none but this."""
        found = self._lookup(name)
        return name if found is None else found.source.name

    def has_ready(self, name: str) -> bool:
        """True if the model of this name or path can be used at once."""
        found = self._lookup(name)
        return found is not None and found.state in (LoadState.READY, LoadState.BUSY)

    def use(self, model: ManagedModel) -> None:
        """A generation begins: the model is the active one, and its keep-alive begins anew, unless it was unloaded."""
        if self._models.get(model.source.name) is model:
            self._use(model)

    def release(self, model: ManagedModel) -> None:
        """A load or a generation is over: the model's keep-alive begins. It was used when that began, others since."""
        if self._models.get(model.source.name) is model:
            self._keep(model)

    def unload(
        self, model: ManagedModel, reason: str = "asked for", generations: Sequence[asyncio.Event] = ()
    ) -> "asyncio.Task[None]":
        """Take a model out of the table at once, so that who loads it from now on loads it anew.

        Then, in a task that no client's end can stop, end its worker and tell everybody; each of `generations` is set
        when one that was cancelled has ended, for which the worker is kept.
        """
        self._forget(model)
        task = asyncio.get_running_loop().create_task(self._end(model, reason, generations))
        self._closing[task] = model
        task.add_done_callback(self._closing.pop)
        return task

    async def give_up(self, model: ManagedModel) -> None:
        """A job that loads a model was stopped: end the load, unless somebody else has asked for it or waits for it."""
        is_here = self._models.get(model.source.name) is model
        is_wanted = model.in_use or model.is_awaited or not model.is_for_jobs
        if is_here and model.state is LoadState.LOADING and not is_wanted:
            await asyncio.shield(self.unload(model, "its load was stopped"))

    async def close(self) -> None:
        """End all workers, also those that an unload keeps until their generations have ended."""
        for model in [*self.all(), *self._closing.values()]:
            await self._remove(model)
        if self._closing:
            await asyncio.wait(self._closing)

    def _lookup(self, name: str) -> ManagedModel | None:
        found = self._models.get(name)
        if found is not None:
            return found
        found = next((model for model in self._in_files() if str(model.source.path) == name), None)
        place = self.catalog.place(name) if found is None else None
        return found if place is None else self._of_file(place)

    def _in_files(self) -> Iterator[ManagedModel]:
        """All but the echoes, whose path is a name and no file."""
        return (model for model in self._models.values() if model.source.row.name != ECHO)

    def _of_file(self, path: Path) -> ManagedModel | None:
        """The model that was loaded from a file or folder by another spelling of its path, such as a link."""
        return next((model for model in self._in_files() if is_same_file(model.source.path, path)), None)

    def _of_source(self, source: ModelSource) -> ManagedModel | None:
        """The model of this very name, path and backend."""
        found = self._models.get(source.name)
        is_it = found is not None and (found.source.path, found.source.row) == (source.path, source.row)
        return found if is_it else None

    def _by_free_name(self, source: ModelSource) -> ModelSource:
        """The source by its path if another model has its name: an echo, or one of a file that lay before this."""
        for name in (source.name, str(source.path)):
            if name not in self._models:
                return replace(source, name=name)
        raise HostError(
            ErrorCode.INVALID_REQUEST,
            f"{source.path} is the name of an echo that is loaded; unload that first.",
            fields=["model: has the name of an echo"],
        )

    def _add(self, source: ModelSource) -> ManagedModel:
        model = ManagedModel(source, self._limits, PerformanceTracker())
        model.on_crash = self._crashed
        model.on_ready = self.release
        model.on_load_failed = self._load_failed
        self._models[source.name] = model
        model.start_loading(after=tuple(self._closing))
        self._use(model)
        self._on_added()
        return model

    def _use(self, model: ManagedModel) -> None:
        self._active = model.source.name
        self._keep(model)

    def _keep(self, model: ManagedModel, at_least_s: float = 0.0) -> None:
        name = model.source.name
        keep_alive_s = model.source.options.keep_alive_s
        seconds = min(self._keep_alive_s if keep_alive_s is None else keep_alive_s, FOREVER_S)
        if seconds == 0 and not model.was_used:
            seconds = FIRST_USE_S
        seconds = max(seconds, at_least_s)
        model.last_used = time.monotonic()
        model.expires_at = time.time() + seconds
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, self._expire, model)

    def _expire(self, model: ManagedModel) -> None:
        if self._models.get(model.source.name) is not model or model.in_use:
            return
        if model.state is LoadState.LOADING:
            self._keep(model, at_least_s=LOADING_S)
            return
        self._let_go(model, "not used")

    def _let_go(self, model: ManagedModel, reason: str) -> None:
        self._went[model.source.path, model.source.row.name] = model.source.asked
        self.unload(model, reason)

    async def _end(self, model: ManagedModel, reason: str, generations: Sequence[asyncio.Event]) -> None:
        for over in generations:
            await over.wait()
        await model.close()
        logger.info("unloaded %s: %s", model.source.name, reason)
        self._on_event("model_unloaded", {"model": model.source.name, "reason": reason})

    def _make_room(self) -> None:
        """Unload the model that was not used for longest, if there are too many; HostError `busy` if all are in use."""
        if len(self._models) < self._max_loaded:
            return
        idle = [model for model in self._models.values() if not model.in_use and model.state is not LoadState.LOADING]
        if not idle:
            loaded = f"{self._max_loaded} {plural(self._max_loaded, 'model is', 'models are')}"
            raise HostError(
                ErrorCode.BUSY,
                f"{loaded} loaded and in use; unload one, or raise models.max_loaded.",
                retry_after_ms=5000,
            )
        oldest = min(idle, key=lambda model: model.last_used)
        self._let_go(oldest, "room for another")

    def _crashed(self, model: ManagedModel, error: HostError) -> None:
        if self._models.get(model.source.name) is not model:
            return  # it is being unloaded, and a model of its name may have been loaded since
        signal = error.details.get("signal")
        self._on_event(
            "model_crashed",
            {
                "model": model.source.name,
                "message": error.message,
                "signal": signal if isinstance(signal, str) else None,
                "restarted": model.state is LoadState.LOADING,
            },
        )

    def _load_failed(self, model: ManagedModel) -> None:
        self._forget(model)

    def _forget(self, model: ManagedModel) -> None:
        name = model.source.name
        if self._models.get(name) is not model:
            return
        del self._models[name]
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if self._active == name:
            latest = max(self._models.values(), key=lambda other: other.last_used, default=None)
            self._active = latest.source.name if latest else None
        if not self._models:
            self._on_idle()

    async def _remove(self, model: ManagedModel) -> None:
        self._forget(model)
        await model.close()
