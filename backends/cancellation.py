"""The cancellation of the generation that a thread runs, for long work far below the backend that got it.

Above it: the worker, which says which generation runs. Below it: `backends.picture_decoding`, the same for every
engine: a picture may take a second to decode, which no engine's own way to stop reaches.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import BoundedSemaphore
from typing import TypeVar

from backends.base import CancelToken

_CURRENT: ContextVar[CancelToken | None] = ContextVar("cancellation", default=None)


_LOOK_S = 0.005
"""Seconds between two looks for a cancellation while other work is waited for."""

_MOST_BESIDE = 2
"""How much work may be under way at once: what is wanted, and one that nobody waits for any more. A WebP of 50
megapixels takes 0.8 GB while it is decoded."""

_PLACES = BoundedSemaphore(_MOST_BESIDE)

ResultT = TypeVar("ResultT")


class Cancelled(Exception):
    """The generation was cancelled before its engine began."""


@contextmanager
def cancellable(cancel: CancelToken) -> Iterator[None]:
    """While this is entered, `raise_if_cancelled` means this generation, in this thread."""
    before = _CURRENT.set(cancel)
    try:
        yield
    finally:
        _CURRENT.reset(before)


def raise_if_cancelled() -> None:
    """Raise Cancelled if the generation that this thread runs was cancelled; quick, to be called often."""
    cancel = _CURRENT.get()
    if cancel is not None and cancel.cancelled:
        raise Cancelled


def run_beside(work: Callable[[], ResultT]) -> ResultT:
    """Do in another thread what nothing can interrupt; Cancelled at once when this thread's generation is cancelled.

    Then the work goes on alone until it looks for the cancellation itself, or ends, and nobody gets its result. Other
    work waits for its end if there is more than one such.
    """
    while not _PLACES.acquire(timeout=_LOOK_S):
        raise_if_cancelled()

    def work_and_leave() -> ResultT:
        try:
            return work()
        finally:
            _PLACES.release()

    pool = ThreadPoolExecutor(1, "beside")
    try:
        try:
            future = pool.submit(copy_context().run, work_and_leave)
        except RuntimeError:  # no thread can be started, which would have given the place back
            _PLACES.release()
            raise
        while not wait([future], _LOOK_S).done:
            raise_if_cancelled()
        return future.result()
    finally:
        pool.shutdown(wait=False)
