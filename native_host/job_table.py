"""Jobs of one kind: those that go on, and those that are over and can still be read.

Above it: generations (`native_host.jobs`) and other actions (`native_host.background`). Below it: asyncio.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from messages.errors import ErrorCode, HostError
from messages.facts import JobState


class AnyJob(Protocol):
    """What the table knows of a job."""

    job_id: str
    origin: str
    state: JobState
    error: HostError | None

    @property
    def is_over(self) -> bool:
        """True once nothing more will come."""


JobT = TypeVar("JobT", bound=AnyJob)


class JobTable(Generic[JobT]):
    """All jobs of a kind. One that is over is forgotten `finished_ttl_s` seconds after that.

    `on_idle` is called when there may be nothing more to stay for.
    """

    def __init__(self, finished_ttl_s: float, on_idle: Callable[[], None]) -> None:
        self._finished_ttl_s = finished_ttl_s
        self._on_idle = on_idle
        self._jobs: dict[str, JobT] = {}
        self._running: dict[str, JobT] = {}
        """Those that have not retired: few, where there may be thousands that can still be read."""
        self._unread: set[str] = set()
        self._read: set[str] = set()

    @property
    def has_running(self) -> bool:
        """True while one goes on."""
        return bool(self._running)

    @property
    def has_unread(self) -> bool:
        """True while there is one that is over, can be read, and has not been."""
        return bool(self._unread)

    def add(self, job: JobT) -> None:
        """A job has begun."""
        self._jobs[job.job_id] = self._running[job.job_id] = job

    def find(self, job_id: str, origin: str) -> JobT | None:
        """An origin's job; None if there is none, or it is another origin's."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.origin == origin else None

    def get(self, job_id: str, origin: str) -> JobT:
        """An origin's job; HostError `job_not_found`, also for a job of another origin."""
        job = self.find(job_id, origin)
        if job is None:
            raise HostError(
                ErrorCode.JOB_NOT_FOUND,
                f"There is no job {job_id[:100]!r}; finished jobs can be read for {self._finished_ttl_s:.0f} s.",
                job_id=job_id[:100],
            )
        return job

    def of_origin(self, origin: str) -> list[JobT]:
        """An origin's jobs, oldest first."""
        return [job for job in self._jobs.values() if job.origin == origin]

    def running(self) -> list[JobT]:
        """All jobs that are not over."""
        return [job for job in self._running.values() if not job.is_over]

    def retire(self, job: JobT) -> None:
        """The job is over: keep it to be read, for a while. Nobody waits for one that was cancelled."""
        self._running.pop(job.job_id, None)
        if job.job_id not in self._read and not _was_cancelled(job):
            self._unread.add(job.job_id)
        asyncio.get_running_loop().call_later(self._finished_ttl_s, self.forget, job.job_id)
        self._on_idle()

    def note_read(self, job: JobT) -> None:
        """Somebody has been told of the job's end, so that there is no need to stay for it; maybe before it retires."""
        self._read.add(job.job_id)
        self._unread.discard(job.job_id)

    def forget(self, job_id: str) -> None:
        """The job cannot be read any more."""
        self._jobs.pop(job_id, None)
        self._read.discard(job_id)
        if job_id in self._unread:
            self._unread.discard(job_id)
            self._on_idle()


def _was_cancelled(job: AnyJob) -> bool:
    is_by_error = job.error is not None and job.error.code is ErrorCode.CANCELLED
    return job.state is JobState.CANCELLED or is_by_error
