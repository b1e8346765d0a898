"""The cancellation of the generation that a thread runs, for long work far below the backend that got it.

Above it: the worker, which says which generation runs. Below it: `backends.picture_decoding`, the same for every
engine: a picture may take a second to decode, which no engine's own way to stop reaches.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from backends.base import CancelToken

_CURRENT: ContextVar[CancelToken | None] = ContextVar("cancellation", default=None)


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
