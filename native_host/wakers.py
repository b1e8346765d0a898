"""Those who wait for news of something: each has an event that is set when there is some.

Above it: jobs of every kind. Below it: asyncio.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Wakers:
    """The events of all who wait now."""

    def __init__(self) -> None:
        self._events: set[asyncio.Event] = set()

    def wake(self) -> None:
        """There are news."""
        for event in self._events:
            event.set()

    @contextmanager
    def woken(self) -> Iterator[asyncio.Event]:
        """An event that is set when there are news; whoever waits clears it."""
        event = asyncio.Event()
        self._events.add(event)
        try:
            yield event
        finally:
            self._events.discard(event)
