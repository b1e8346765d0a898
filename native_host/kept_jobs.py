"""How much memory the jobs that are over take, origin by origin, and which go first where that is too much.

Above it: `native_host.jobs`. Below it: nothing.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""How much memory the jobs of one origin that are over may take, about, before those that were read go early."""


@dataclass(slots=True)
class _Shelf:
    """One origin's jobs with their sizes in bytes, in the order of their ends."""

    jobs: deque[tuple[str, int]] = field(default_factory=deque)
    total: int = 0


class KeptJobs:
    """Sizes alone: whether a job that there is no room for is forgotten is for its table to say."""

    def __init__(self) -> None:
        self._shelves: defaultdict[str, _Shelf] = defaultdict(_Shelf)

    def add(self, origin: str, job_id: str, size: int) -> list[str]:
        """A job of so many bytes is over; the jobs of its origin for which there is no room any more, oldest first."""
        shelf = self._shelves[origin]
        shelf.jobs.append((job_id, size))
        shelf.total += size
        beyond = []
        while shelf.total > MAX_KEPT_BYTES and len(shelf.jobs) > 1:
            beyond.append(self._take_oldest(shelf))
        return beyond

    def remove(self, origin: str, job_id: str) -> None:
        """A job is forgotten; it is the oldest, since each is kept as long as the others, or was put aside before."""
        shelf = self._shelves[origin]
        if shelf.jobs and shelf.jobs[0][0] == job_id:
            self._take_oldest(shelf)
        if not shelf.jobs:
            del self._shelves[origin]

    @staticmethod
    def _take_oldest(shelf: _Shelf) -> str:
        job_id, size = shelf.jobs.popleft()
        shelf.total -= size
        return job_id
