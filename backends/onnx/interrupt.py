"""Lets a cancel from another thread end what an engine is doing now, and nothing that it does later.

Above it: `kv_cache`, `transformersjs.encoder_decoder`.
"""

import threading
from collections.abc import Callable
from typing import Protocol


class Interruptible(Protocol):
    """An engine whose work can be ended."""

    def terminate(self) -> None:
        """End the running work with an error; from any thread."""

    def resume(self) -> None:
        """Take a `terminate` back."""


class Interrupt:
    """One generation's: a late cancel must not hit the next one."""

    def __init__(self, engine: Interruptible) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._running = False
        self.fired = False

    def run(self, work: Callable[[], None]) -> None:
        """Do a piece of work; it raises EngineError if `fire` came in between."""
        with self._lock:
            self._running = True
        try:
            work()
        finally:
            with self._lock:
                self._running = False
                if self.fired:
                    self._engine.resume()

    def fire(self) -> None:
        """End the work that runs now, if one does; from any thread."""
        with self._lock:
            if self._running and not self.fired:
                self.fired = True
                self._engine.terminate()
