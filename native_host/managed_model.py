"""One model: its worker, its queue, its figures, its restart after a crash.

Above it: `native_host.models`. Below it: `native_host.model_source` and `native_host.worker_process`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, LoadProgress, LoadState, ModelState
from messages.wording import plural
from messages.worker import LoadCommand, LoadedEvent, LoadProgressEvent
from native_host import process_memory
from native_host.model_source import ModelSource
from native_host.performance import PerformanceTracker
from native_host.worker_process import WorkerAbandoned, WorkerProcess, unloaded_meanwhile

logger = logging.getLogger("tabagent.model")

RETRY_AFTER_MS = 1000

ROOM_TIMEOUT_S = 10.0
"""How long a load waits for the ends of workers that are being unloaded, in seconds; a hung engine holds up no more."""

ProgressListener = Callable[[LoadProgressEvent], None]


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """How long things may take, in seconds, and how many generations may wait.

    count_timeout_s is that of counting a prompt's tokens, and of embeddings once nobody waits for them any more;
    cache_path is the folder in which backends remember what they measured.
    """

    load_timeout_s: float
    stop_timeout_s: float
    count_timeout_s: float
    queue_limit: int
    cache_path: Path


class ManagedModel:
    """A model from the first `load` to its `unload`.

    After a crash the worker is started again once; a second crash with no generation done in between leaves the
    model `crashed` until it is loaded again. One that was killed is always started again.
    """

    def __init__(self, source: ModelSource, limits: ModelLimits, tracker: PerformanceTracker) -> None:
        self.source = source
        self.limits = limits
        self.tracker = tracker
        self.state = LoadState.LOADING
        self.info: LoadedEvent | None = None
        self.expires_at: float | None = None
        self.last_used = time.monotonic()
        self.was_used = False
        self.is_for_jobs = False
        """True while it loads for jobs in the background alone, which can be stopped."""
        self.on_crash: Callable[[ManagedModel, HostError], None] = lambda _model, _error: None
        self.on_ready: Callable[[ManagedModel], None] = lambda _model: None
        self.on_load_failed: Callable[[ManagedModel], None] = lambda _model: None
        self._loaded_at: float | None = None
        self._backend_type: BackendType | None = None
        self._worker: WorkerProcess | None = None
        self._loading: asyncio.Task[None] | None = None
        self._listeners: list[ProgressListener] = []
        self._progress: LoadProgressEvent | None = None
        self._slot = asyncio.Lock()
        self._waiting = 0
        self._holders = 0
        self._awaited = 0
        self._restarts_left = 1
        self._crash: HostError | None = None
        self._is_closed = False

    @property
    def worker(self) -> WorkerProcess:
        """The worker; HostError if there is none."""
        if self._worker is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, f"{self.source.name} is not loaded; send load first.")
        return self._worker

    @property
    def has_worker(self) -> bool:
        """True from the beginning of its load until its worker has ended or was closed."""
        return self._worker is not None

    @property
    def backend_type(self) -> BackendType | None:
        """The engine and device it runs on, also after a crash; None until it was loaded once."""
        return self._backend_type

    @property
    def in_use(self) -> bool:
        """True while a generation runs or waits, or the model is held."""
        return self._slot.locked() or self._waiting > 0 or self._holders > 0

    @property
    def is_awaited(self) -> bool:
        """True while somebody waits until it is ready."""
        return self._awaited > 0

    @property
    def loading(self) -> LoadProgress | None:
        """How far its load is; None if it does not load, and before its worker has said anything."""
        event = self._progress
        if event is None or self.state is not LoadState.LOADING:
            return None
        return LoadProgress(
            phase=event.phase,
            progress=event.progress,
            message=event.message,
            loaded_bytes=event.loaded_bytes,
            total_bytes=event.total_bytes,
        )

    def start_loading(self, restarted: bool = False, after: "Collection[asyncio.Task[None]]" = ()) -> None:
        """Begin to load, in a task that no client's end can stop; `restarted` after a crash.

        `after` are the ends of other models: what is free is judged when their memory is given back.
        """
        self.state, self._crash, self._progress = LoadState.LOADING, None, None
        self._loading = asyncio.get_running_loop().create_task(self._load(restarted, after))
        self._loading.add_done_callback(_retrieve)

    @contextmanager
    def hear_progress(self, listener: ProgressListener) -> Iterator[None]:
        """While this is entered, `listener` is called as loading moves on."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def wait_ready(self) -> LoadedEvent:
        """Wait until the model is loaded; raises the HostError with which loading failed."""
        if self._crash is not None:
            raise self._crash
        self._awaited += 1
        try:
            if self._loading is not None:
                await asyncio.shield(self._loading)
        except asyncio.CancelledError:
            if self._loading is not None and self._loading.cancelled():
                raise HostError(ErrorCode.CANCELLED, f"{self.source.name} was unloaded while it loaded.") from None
            raise
        finally:
            self._awaited -= 1
        if self._is_closed:
            raise unloaded_meanwhile(self.source.name)
        if self.info is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, f"{self.source.name} is not loaded; send load first.")
        return self.info

    def join_queue(self) -> None:
        """Take a place among those that wait, which `turn` gives back; HostError `busy` if no more may wait."""
        if self._waiting >= self.limits.queue_limit + (not self._slot.locked()):
            waiting = f"{self._waiting} {plural(self._waiting, 'generation')}"
            raise HostError(
                ErrorCode.BUSY,
                f"{self.source.name} has {waiting} waiting; try again in a moment.",
                retry_after_ms=RETRY_AFTER_MS,
            )
        self._waiting += 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Having joined the queue, wait for this model's turn, first come first served, and have it for the block."""
        try:
            await self._slot.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slot.release()
            self.last_used, self.was_used = time.monotonic(), True

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this is entered the model is in use, though nobody has its turn: its worker answers in between."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1

    def note_success(self) -> None:
        """A generation was done: the next crash is a first one again."""
        self._restarts_left = 1

    def abandon_worker(self) -> None:
        """Kill a worker that does not stop; it is started again as after a crash."""
        logger.warning(
            "%s did not stop within %s s; its worker is killed", self.source.name, self.limits.stop_timeout_s
        )
        self.worker.abandon()

    async def close(self) -> None:
        """End the worker, and a load that is under way; who waits for the model's turn is told so."""
        self._is_closed = True
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        worker, self._worker, self.info = self._worker, None, None
        if worker is not None:
            await worker.close()

    def get_state(self) -> ModelState:
        """The model's state, its performance included."""
        busy = self.state is LoadState.READY and self._slot.locked()
        info = self.info
        return ModelState(
            model=self.source.name,
            model_path=str(self.source.path),
            backend=self.source.row.name,
            backend_type=self._backend_type,
            state=LoadState.BUSY if busy else self.state,
            loading=self.loading,
            context_length=info.context_length if info else None,
            size_bytes=info.size_bytes if info else None,
            resident_bytes=self.resident_bytes(),
            pid=self._worker.pid if self._worker else None,
            capabilities=info.capabilities if info else self.source.row.capabilities,
            device=info.device if info else None,
            dtype=info.dtype if info else None,
            notes=info.notes if info else (),
            loaded_at=self._loaded_at,
            expires_at=self.expires_at,
            performance=self.tracker.performance(),
        )

    def resident_bytes(self) -> int | None:
        """The worker's resident memory, in bytes."""
        pid = self._worker.pid if self._worker else None
        return None if pid is None else process_memory.resident_bytes(pid)

    def peak_bytes(self) -> int | None:
        """The most that the worker has had resident since it started, in bytes."""
        pid = self._worker.pid if self._worker else None
        return None if pid is None else process_memory.peak_resident_bytes(pid)

    async def _load(self, restarted: bool, after: "Collection[asyncio.Task[None]]") -> None:
        worker = WorkerProcess(self.source.name, lambda error: self._worker_ended(worker, error))
        self._worker = worker
        try:
            async with asyncio.timeout(self.limits.load_timeout_s):
                await worker.start()
                if after:
                    await asyncio.wait(after, timeout=ROOM_TIMEOUT_S)
                command = LoadCommand(
                    ref=worker.next_ref(),
                    backend=self.source.row.name,
                    path=str(self.source.path),
                    options=self.source.options,
                    general=self.source.general,
                    cache_path=str(self.limits.cache_path),
                )
                event = await worker.call(command, command.ref, self._report)
        except TimeoutError:
            await self._give_up(worker)
            text = f"{self.source.name} did not load within {self.limits.load_timeout_s:.0f} s."
            raise HostError(ErrorCode.TIMEOUT, text) from None
        except HostError as raised:
            error = self.source.explained(raised)
            if restarted:
                self.state, self._crash = LoadState.CRASHED, error
            await self._give_up(worker)
            raise error from raised
        except BaseException:
            await self._give_up(worker)
            raise
        assert isinstance(event, LoadedEvent)
        self.info, self.state, self._loaded_at = event, LoadState.READY, time.time()
        self._backend_type, self.is_for_jobs = event.backend_type, False
        notes = " ".join(["", *event.notes])
        logger.info("loaded %s with %s (pid %s)%s", self.source.name, event.backend_type, worker.pid, notes)
        self.on_ready(self)

    async def _give_up(self, worker: WorkerProcess) -> None:
        if self._worker is worker:
            self._worker = None
        await worker.close()
        if self.state is not LoadState.CRASHED:
            self.on_load_failed(self)

    def _report(self, event: object) -> None:
        if isinstance(event, LoadProgressEvent):
            self._progress = event
            for listener in list(self._listeners):
                listener(event)

    def _worker_ended(self, worker: WorkerProcess, error: HostError | None) -> None:
        if error is None or self._worker is not worker or self.state is LoadState.LOADING:
            return
        self._worker, self.info = None, None
        if isinstance(error, WorkerAbandoned):
            self.start_loading(restarted=True)
        elif self._restarts_left > 0:
            self._restarts_left -= 1
            self.start_loading(restarted=True)
        else:
            self.state, self._crash = LoadState.CRASHED, error
        self.on_crash(self, error)


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Take a failed load's exception, which those who wait for the load get too."""
    if not task.cancelled():
        task.exception()
