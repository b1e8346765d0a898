"""Requests that go on in the background: any action but `generate`, as a job that outlives its port.

Above it: the dispatcher, which begins them, and the handlers of jobs, which tell of them. Below it: `messages`. A
generation is a job of its own kind, in `native_host.jobs`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from messages.errors import ErrorCode, HostError
from messages.facts import Fact, JobState
from messages.job_replies import JobListing
from messages.replies import Progress, Reply
from native_host.jobs import OVER, new_job_id
from native_host.wakers import Wakers

MAX_KEPT = 64
"""How many jobs of one origin that are over can be read, the newest: a result may be large."""


class ActionJob:
    """One request of one origin. It is the client that the handler answers, so that it hears of the progress.

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

    def listing(self) -> JobListing:
        """The job as `list_jobs` tells it."""
        return JobListing(
            job_id=self.job_id, action=self.action, state=self.state, model=self.model, tokens=0, created=self.created
        )

    async def send(self, reply: Reply) -> None:
        """Called by the handler: what comes before the result."""
        assert isinstance(reply, Progress), "only generations stream, and they are jobs of their own"
        self.progress = reply
        self.told += 1
        self._wakers.wake()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin with the work that finishes this job or fails it; one that is cancelled does neither."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._note_end)
        return self._task

    def cancel(self) -> None:
        """Cancel. The end comes later."""
        if self._task is not None:
            self._task.cancel()

    def finish(self, fields: Fact) -> None:
        """The action is done; the fields of its result."""
        self.fields = fields
        self._end(JobState.FINISHED)

    def fail(self, error: HostError) -> None:
        """The action failed."""
        self.error = error
        self._end(JobState.FAILED)

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
            self.error = HostError(ErrorCode.CANCELLED, f"This {self.action} was stopped before it was done.")
            self._end(JobState.CANCELLED)

    def _end(self, state: JobState) -> None:
        self.state = state
        self.over.set()
        self._wakers.wake()


class ActionJobs:
    """Those that go on, and those that can still be read."""

    def __init__(self, finished_ttl_s: float, on_idle: Callable[[], None]) -> None:
        self._finished_ttl_s = finished_ttl_s
        self._on_idle = on_idle
        self._jobs: dict[str, ActionJob] = {}
        self._running: dict[ActionJob, asyncio.Task[None]] = {}

    @property
    def is_idle(self) -> bool:
        """True if none goes on."""
        return not self._running

    def start(self, job: ActionJob, work: Coroutine[Any, Any, None]) -> None:
        """Carry out a job, which its work ends; it is forgotten some time after that."""
        self._jobs[job.job_id] = job
        self._running[job] = task = job.start(work)
        task.add_done_callback(lambda _task: self._retire(job))

    def find(self, job_id: str, origin: str) -> ActionJob | None:
        """An origin's job, None if there is none."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.origin == origin else None

    def of_origin(self, origin: str) -> list[ActionJob]:
        """An origin's jobs, oldest first."""
        return [job for job in self._jobs.values() if job.origin == origin]

    async def close(self) -> None:
        """End what still goes on."""
        for job in self._running:
            job.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _retire(self, job: ActionJob) -> None:
        del self._running[job]
        over = [other for other in self.of_origin(job.origin) if other.is_over]
        for oldest in over[:-MAX_KEPT]:
            self._forget(oldest)
        asyncio.get_running_loop().call_later(self._finished_ttl_s, self._forget, job)
        self._on_idle()

    def _forget(self, job: ActionJob) -> None:
        self._jobs.pop(job.job_id, None)
