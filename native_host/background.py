"""Requests that go on in the background: any action but `generate`, as a job that outlives its port.

Above it: the dispatcher, which begins them, and the handlers of jobs, which tell of them. Below it: `messages`. A
generation is a job of its own kind, in `native_host.jobs`.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import accumulate
from typing import Any

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.facts import Fact, JobState
from messages.job_replies import JobListing
from messages.replies import Embedded, Failure, Progress, Reply, Success
from native_host.job_table import JobTable
from native_host.jobs import OVER, new_job_id
from native_host.wakers import Wakers

logger = logging.getLogger("tabagent.background")

MAX_RUNNING = 256
"""How many jobs of one origin go on at once."""

MAX_KEPT = 64
"""How many jobs of one origin that are over can be read: those that ended last."""

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""How much memory their results take at most, about; one result may take more."""

_GO_ON = frozenset({ActionType.UNLOAD, ActionType.STOP_GENERATION})
"""Actions that nobody stops: all that they do is begun at once, and the rest is waiting for its end."""

RETRY_AFTER_MS = 1000
_NUMBER_BYTES = 32
"""What a Python number and its place in a tuple take."""


class ActionJob:
    """One request of one origin. It is the client that is answered: it hears of the progress, and of the end.

    state is `queued` until it is over: of the phases of a generation it has none. told is how many progress messages
    there were, of which the last is kept.
    """

    def __init__(self, origin: str, action: str, model: str | None) -> None:
        self.job_id = new_job_id()
        self.origin = origin
        self.action = action
        self.model = model
        self.created = time.time()
        self.state = JobState.QUEUED
        self.fields: Fact | None = None
        self.error: HostError | None = None
        self.progress: Progress | None = None
        self.told = 0
        self.over = asyncio.Event()
        self._wakers = Wakers()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """True once nothing more will come."""
        return self.state in OVER

    @property
    def can_be_stopped(self) -> bool:
        """False if what it does goes on whoever wants it stopped."""
        return self.action not in _GO_ON

    def listing(self) -> JobListing:
        """The job as `list_jobs` tells it."""
        return JobListing(
            job_id=self.job_id, action=self.action, state=self.state, model=self.model, tokens=0, created=self.created
        )

    async def send(self, reply: Reply) -> None:
        """Called by the dispatcher: the progress, and the end."""
        match reply:
            case Progress():
                self.progress = reply
                self.told += 1
                self._wakers.wake()
            case Success():
                self.fields = reply.fields
                self._end(JobState.FINISHED)
            case Failure():
                self._fail(reply.error)
            case _:
                raise TypeError(f"only a generation streams {type(reply).__name__}, and it is a job of its own")

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin with the work, which sends the end here unless it is cancelled."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._note_end)
        return self._task

    def cancel(self) -> None:
        """Cancel. The end comes later."""
        if self._task is not None:
            self._task.cancel()

    async def follow(self) -> AsyncIterator[Progress]:
        """Yield the newest progress, then what comes of it, until the job is over; who is slow misses some."""
        told = 0
        with self._wakers.woken() as news:
            while True:
                if self.progress is not None and self.told > told:
                    told = self.told
                    yield self.progress
                elif self.is_over:
                    return
                else:
                    await news.wait()
                    news.clear()

    async def wait_for_news(self, told: int, seconds: float) -> None:
        """Wait until there was more than `told` progress, or the job is over, or `seconds` have passed."""
        with self._wakers.woken() as news, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.told <= told and not self.is_over:
                    await news.wait()
                    news.clear()

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            text = f"This {self.action} was stopped before it was done."
            self._fail(HostError(ErrorCode.CANCELLED, text), JobState.CANCELLED)
        elif not self.is_over:
            logger.error("the job %s ended without a result", self.job_id, exc_info=task.exception())
            self._fail(HostError(ErrorCode.INTERNAL, "The host failed. This is a bug; its log has the details."))

    def _fail(self, error: HostError, state: JobState = JobState.FAILED) -> None:
        self.error = error
        self._end(state)

    def _end(self, state: JobState) -> None:
        self.state = state
        self.over.set()
        self._wakers.wake()


class ActionJobs(JobTable[ActionJob]):
    """All that goes on in the background, or can still be read."""

    def begin(
        self, origin: str, action: str, model: str | None, work: Callable[[ActionJob], Coroutine[Any, Any, None]]
    ) -> ActionJob:
        """Make a job of its work, and begin; HostError `busy` if too many of the origin go on."""
        if sum(job.origin == origin for job in self.running()) >= MAX_RUNNING:
            text = f"{MAX_RUNNING} requests go on in the background; wait for some of them, or stop them."
            raise HostError(ErrorCode.BUSY, text, retry_after_ms=RETRY_AFTER_MS)
        job = ActionJob(origin, action, model)
        self.add(job)
        job.start(work(job)).add_done_callback(lambda _task: self.retire(job))
        return job

    def retire(self, job: ActionJob) -> None:
        """The job is over: keep it to be read, for a while, and no more of the older ones than there is room for."""
        self._jobs[job.job_id] = self._jobs.pop(job.job_id)  # they are kept in the order of their ends
        super().retire(job)
        over = [other for other in self.of_origin(job.origin) if other.job_id not in self._running]
        sizes = accumulate(_result_bytes(other) for other in reversed(over))
        for place, (other, size) in enumerate(zip(reversed(over), sizes, strict=True)):
            if place >= MAX_KEPT or (place > 0 and size > MAX_KEPT_BYTES):
                self.forget(other.job_id)

    async def close(self) -> None:
        """End what still goes on."""
        running = self.running()
        for job in running:
            job.cancel()
        for job in running:
            await job.over.wait()


def _result_bytes(job: ActionJob) -> int:
    """About how much memory a result takes: vectors are the only large ones."""
    fields = job.fields
    return len(fields.embeddings) * fields.dimensions * _NUMBER_BYTES if isinstance(fields, Embedded) else 0
