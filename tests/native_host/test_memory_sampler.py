"""Memory over time, of real workers."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest
from support.browsers.waiting import wait_until

from messages.options import LoadOptions
from native_host.config import Config, Paths
from native_host.host import Host
from native_host.managed_model import ManagedModel
from native_host.memory_sampler import MOST_MADE_UP, MemorySampler
from native_host.process_memory import peak_resident_bytes, resident_bytes
from native_host.stats_rows import MEMORY_REPEAT_S, Filter, MemorySample
from native_host.stats_store import StatsStore

LOAD_TIMEOUT_S = 60.0


def test_a_models_memory_is_sampled_while_it_is_loaded_and_ends_with_0(tmp_path: Path) -> None:
    samples, resident = asyncio.run(sample_an_echo(tmp_path))
    assert {(sample.backend, sample.model) for sample in samples} == {("ECHO", "echo")}
    assert abs(samples[0].resident_bytes - resident) < 0.2 * resident
    assert [sample.resident_bytes == 0 for sample in samples] == [False] * (len(samples) - 1) + [True]


async def sample_an_echo(folder: Path) -> tuple[list[MemorySample], int]:
    """The samples of one load and unload, and the worker's memory as psutil tells it."""
    host = Host(Config(), Paths(folder / "data", folder / "config", folder / "log"))
    news: asyncio.Queue[MemorySample] = asyncio.Queue()
    sampler = MemorySampler(host.models.all, news.put_nowait, interval_s=0.01)
    model, _ = await host.models.load("echo", "auto", LoadOptions())
    sampler.watch()
    async with asyncio.timeout(LOAD_TIMEOUT_S):
        samples = [await news.get()]
        assert model.worker.pid is not None
        resident = psutil.Process(model.worker.pid).memory_info().rss
        await host.models.unload(model)
        while samples[-1].resident_bytes:
            samples.append(await news.get())
    sampler.close()
    await host.close()
    return samples, resident


class Clock:
    """A model's samples at the times that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.samples: list[MemorySample] = []
        self.resident: int | None = 100
        named = SimpleNamespace(name="a")
        self.model = SimpleNamespace(source=named, backend_type="ECHO", resident_bytes=lambda: self.resident)
        self.sampler = MemorySampler(list, self.samples.append)
        self.now = 0.0
        monkeypatch.setattr("native_host.memory_sampler.time", SimpleNamespace(time=lambda: self.now))

    def look(self, now: float, *, loaded: bool = True) -> None:
        """Sample at a time, with the model there or not."""
        self.now = now
        self.sampler.sample([cast(ManagedModel, self.model)] if loaded else [])


@pytest.mark.parametrize("stays", [True, False])
def test_a_suspended_computer_is_not_taken_for_an_unload(monkeypatch: pytest.MonkeyPatch, stays: bool) -> None:
    """Nothing runs meanwhile, and the clock has gone on when it wakes, maybe right before a keep-alive ends."""
    woken = time.time()
    clock, store = Clock(monkeypatch), StatsStore(None)
    clock.look(woken - 30_000)
    clock.look(woken, loaded=stays)
    for sample in clock.samples:
        store.record(sample)
    points = store.memory(Filter(since=woken - 30_001, until=woken + 1), parts=10)["a"]
    store.close()
    assert [point.resident_bytes for point in points] == [100] * 10 + [0] * (not stays)


def test_the_silence_of_months_is_made_up_for_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    clock.look(1e9)
    clock.look(1.1e9, loaded=False)
    assert len(clock.samples) == 1 + MOST_MADE_UP + 1
    assert 1.1e9 - MEMORY_REPEAT_S < clock.samples[-2].time <= 1.1e9


def test_what_a_crashed_model_had_is_not_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    clock.look(1e9)
    clock.resident = None
    for minute in range(20):
        clock.look(1e9 + 60 * minute)
    clock.look(1e9 + 100_000)
    assert len(clock.samples) == 1


def test_the_peak_stays_after_memory_was_given_back() -> None:
    script = "import sys; held = bytearray(200_000_000); del held; print('freed', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"freed"
    resident, peak = resident_bytes(process.pid), peak_resident_bytes(process.pid)
    process.communicate(timeout=20)
    assert resident is not None
    assert peak is not None
    assert resident < 100_000_000
    assert peak > 200_000_000 or sys.platform == "darwin"


def test_a_process_that_is_gone_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(20)
    wait_until("its id to be free", lambda: not psutil.pid_exists(process.pid))
    assert resident_bytes(process.pid) is None
    assert peak_resident_bytes(process.pid) is None
    assert resident_bytes(os.getpid()) is not None
