"""Memory over time, of real workers."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
from support.browsers.waiting import wait_until

from messages.options import LoadOptions
from native_host.config import Config, Paths
from native_host.host import Host
from native_host.memory_sampler import MemorySampler
from native_host.process_memory import peak_resident_bytes, resident_bytes
from native_host.stats_rows import MemorySample

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
