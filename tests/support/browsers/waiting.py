"""Bounded waiting: the one place in the browser tests that polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

POLL_S = 0.02

T = TypeVar("T")


def wait_until(what: str, probe: Callable[[], T], timeout_s: float = 10.0) -> T:
    """Call ``probe`` until it answers something true, and return that.

    Raises ``TimeoutError`` naming ``what`` after ``timeout_s`` seconds.
    """
    end = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s} s (last seen: {value!r})")
        time.sleep(POLL_S)
