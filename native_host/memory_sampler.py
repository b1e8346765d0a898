"""Reads the memory of loaded models' workers now and then, for the statistics; asleep while no model is loaded.

Above it: the host. Below it: `native_host.managed_model`. Lives in the event loop.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from native_host.managed_model import ManagedModel
from native_host.stats_rows import MEMORY_REPEAT_S, MemorySample

INTERVAL_S = 10.0
NOTABLE = 0.01
"""A sample that differs from the last by a smaller share is not recorded, for `MEMORY_REPEAT_S`."""

SUSPENDED_S = 60.0
"""Where more seconds than these are between two looks, nothing ran: the computer was suspended."""

MOST_MADE_UP = 7 * 86_400 // int(MEMORY_REPEAT_S)
"""Samples that make up for the silence of a suspended computer, for each model: those of a week."""


class MemorySampler:
    """Samples what `models` tells, into `record`: what has changed, and the last of a model that was unloaded."""

    def __init__(
        self,
        models: Callable[[], Sequence[ManagedModel]],
        record: Callable[[MemorySample], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._models = models
        self._record = record
        self._interval_s = interval_s
        self._last: dict[str, MemorySample] = {}
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """A model is there: sample from now on, until none is."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def close(self) -> None:
        """Sample no more; every model has been unloaded."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.sample([])

    def _tick(self) -> None:
        self._timer = None
        models = self._models()
        self.sample(models)
        if models:
            self.watch()

    def sample(self, models: Sequence[ManagedModel]) -> None:
        """Record what is worth it."""
        now = time.time()
        self._make_up_for_sleep(now)
        there = {model.source.name for model in models}
        for name in [name for name in self._last if name not in there]:
            gone = self._last.pop(name)
            self._record(MemorySample(time=now, backend=gone.backend, model=name, resident_bytes=0))
        for model in models:
            resident = model.resident_bytes()
            if resident is not None and model.backend_type is not None:
                self._note(MemorySample(now, str(model.backend_type), model.source.name, resident))

    def _make_up_for_sleep(self, now: float) -> None:
        """Tell for a suspended computer what stayed as it was, or its silence would pass for an unload."""
        looked_at, self._looked_at = self._looked_at, now
        if now - looked_at <= SUSPENDED_S:
            return
        for last in self._last.values():
            missed = int((now - last.time) / MEMORY_REPEAT_S)
            was_there = looked_at - last.time < MEMORY_REPEAT_S + SUSPENDED_S
            for number in range(max(missed - MOST_MADE_UP, 0), missed if was_there else 0):
                self._record(replace(last, time=last.time + (number + 1) * MEMORY_REPEAT_S))

    def _note(self, sample: MemorySample) -> None:
        last = self._last.get(sample.model)
        if last is not None and sample.time - last.time < MEMORY_REPEAT_S:
            change = abs(sample.resident_bytes - last.resident_bytes)
            if sample.backend == last.backend and change < NOTABLE * last.resident_bytes:
                return
        self._last[sample.model] = sample
        self._record(sample)
