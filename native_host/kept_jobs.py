"""How much memory the jobs that are over take, origin by origin, and which go first where that is too much.

Above it: `native_host.jobs`. Below it: nothing.
"""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""How much memory the jobs of one origin that are over may take, about, before those that were read go early."""


@dataclass(slots=True)
class _Shelf:
    """One origin's jobs with their sizes in bytes, in the order in which they came."""

    jobs: OrderedDict[str, int] = field(default_factory=OrderedDict)
    total: int = 0


class KeptJobs:
    """Sizes alone: whether a job that there is no room for is forgotten is for its table to say."""

    def __init__(self) -> None:
        self._shelves: defaultdict[str, _Shelf] = defaultdict(_Shelf)

    def add(self, origin: str, job_id: str, size: int) -> list[str]:
        """A job of so many bytes is to be kept; those of its origin for which there is no room then, oldest first."""
        shelf = self._shelves[origin]
        shelf.jobs[job_id] = size
        shelf.total += size
        beyond = []
        while shelf.total > MAX_KEPT_BYTES and len(shelf.jobs) > 1:
            oldest, freed = shelf.jobs.popitem(last=False)
            shelf.total -= freed
            beyond.append(oldest)
        return beyond

    def remove(self, origin: str, job_id: str) -> None:
        """A job is forgotten; nothing happens if there was no room for it."""
        shelf = self._shelves[origin]
        shelf.total -= shelf.jobs.pop(job_id, 0)
        if not shelf.jobs:
            del self._shelves[origin]
