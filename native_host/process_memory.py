"""The memory of another process of this user: what it has resident, and the most that it ever had.

Source: VmHWM in https://man7.org/linux/man-pages/man5/proc_pid_status.5.html; PeakWorkingSetSize on Windows.
"""

import os
import sys

import psutil

_STATUS_BYTES = 1 << 14


def resident_bytes(pid: int) -> int | None:
    """What a process has resident now, in bytes; None once it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None


def peak_resident_bytes(pid: int) -> int | None:
    """The most that a process has had resident since it started, in bytes; None once it is gone.

    macOS does not tell it of another process: there it is what is resident now.
    """
    if sys.platform == "linux":
        return _high_water_mark(pid)
    try:
        memory = psutil.Process(pid).memory_info()
    except psutil.Error:
        return None
    return int(getattr(memory, "peak_wset", memory.rss))


def _high_water_mark(pid: int) -> int | None:
    try:
        descriptor = os.open(f"/proc/{pid}/status", os.O_RDONLY)
    except OSError:
        return None
    try:
        status = os.read(descriptor, _STATUS_BYTES)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    _, found, rest = status.partition(b"VmHWM:")
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else None
