"""The memory of another process of this user: what it has resident, and the most that it ever had.

Source: VmRSS and VmHWM in https://man7.org/linux/man-pages/man5/proc_pid_status.5.html; PeakWorkingSetSize on Windows.
"""

import os
import sys
from typing import Any

_STATUS_BYTES = 1 << 14


def resident_bytes(pid: int) -> int | None:
    """What a process has resident now, in bytes; None once it is gone."""
    if sys.platform == "linux":
        return _status_bytes(pid, b"VmRSS:")
    memory = _memory_info(pid)
    return int(memory.rss) if memory else None


def peak_resident_bytes(pid: int) -> int | None:
    """The most that a process has had resident since it started, in bytes; None once it is gone.

    macOS does not tell it of another process: there it is what is resident now.
    """
    if sys.platform == "linux":
        return _status_bytes(pid, b"VmHWM:")
    memory = _memory_info(pid)
    return int(getattr(memory, "peak_wset", memory.rss)) if memory else None


def _memory_info(pid: int) -> Any:
    """What psutil tells of a process; None once it is gone."""
    import psutil  # takes 6 ms, which the daemon's start on Linux does not wait for

    try:
        return psutil.Process(pid).memory_info()
    except psutil.Error:
        return None


def _status_bytes(pid: int, field: bytes) -> int | None:
    """A field of a process's status on Linux, which is in KiB there."""
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
    _, found, rest = status.partition(field)
    return int(rest.split(maxsplit=1)[0]) * 1024 if found else None
