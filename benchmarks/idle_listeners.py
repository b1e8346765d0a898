"""What two hundred programs cost that watch a generation over HTTP while nothing happens: the daemon's time and memory.

The generation has said its first word and waits for a long time. What comes meanwhile is what always comes: signs of
life every five seconds, and heartbeats.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
from support.http_host import HttpHost

from benchmarks.sizes import Sizes
from benchmarks.table import Row, at_most

LISTENERS = 200
CPU_LIMIT_PERCENT = 1.0
MEMORY_LIMIT_MB = 30.0
TIMEOUT_S = 20.0
SLOW = {"tokens_per_second": 0.0005}
"""The echo's pace: one word at once, the next in half an hour."""


def measure(sizes: Sizes) -> Iterator[Row]:
    """Two rows: processor time of one core, and memory, both of the daemon alone."""
    with HttpHost("--no-token") as host, host.client(timeout=TIMEOUT_S) as client, ExitStack() as opened:
        client.post("/api/v1/load", json={"model": "echo", "options": SLOW}).raise_for_status()
        job = client.post("/api/v1/jobs", json={"prompt": "first second third"}).json()["job_id"]
        daemon = psutil.Process(host.daemon_pid)
        opened.enter_context(_listener(host, job))
        alone, before = _percent_of_a_core(daemon, sizes.idle_seconds), _own_bytes(daemon)
        for _ in range(LISTENERS):
            opened.enter_context(_listener(host, job))
        percent = _percent_of_a_core(daemon, sizes.idle_seconds)
        megabytes = (_own_bytes(daemon) - before) / 1e6
    what = f"HTTP: {LISTENERS} idle listeners of one generation"
    cpu = f"{what}; the daemon's processor time in {sizes.idle_seconds:.0f} s, of one core"
    yield at_most(cpu, "%", percent, CPU_LIMIT_PERCENT, f"{alone:.2f} % with one")
    yield at_most(f"{what}; the daemon's memory for them", "MB", megabytes, MEMORY_LIMIT_MB)


def _listener(host: HttpHost, job: str) -> socket.socket:
    """A connection on which the job's events have begun to come."""
    head = f"GET /api/v1/stream/{job} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    opened = host.raw(head.encode(), TIMEOUT_S)
    if not opened.recv(65_536).startswith(b"HTTP/1.1 200"):
        raise RuntimeError("the job's events cannot be had")
    return opened


def _percent_of_a_core(process: psutil.Process, seconds: float) -> float:
    """User and system time of a process, over a time in which it is left alone."""
    used, began = _processor_s(process), time.monotonic()
    time.sleep(seconds)
    return 100 * (_processor_s(process) - used) / (time.monotonic() - began)


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _own_bytes(process: psutil.Process) -> int:
    """Memory that no other process shares."""
    return int(process.memory_full_info().uss)
