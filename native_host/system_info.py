"""Finds out what machine this is, in bounded time; what cannot be found out is said and not hidden.

Above it: `get_system_info`, `doctor`. Beside it: `native_host.accelerators`. It blocks for as long as the system's own
tools take (at most some seconds, usually well under one): not for an event loop.
"""

import platform
import sys
from pathlib import Path

import psutil

from messages.system import CpuInfo, DiskInfo, MemoryInfo, SystemInfo
from native_host.accelerators import find_accelerators
from native_host.commands import command_output
from native_host.runtime import VERSION


def read_system_info(data_dir: Path) -> SystemInfo:
    """Read everything; `data_dir` (which need not exist yet) is on the disk that is asked about."""
    problems: list[str] = []
    memory = psutil.virtual_memory()
    return SystemInfo(
        os=platform.system(),
        os_version=_os_version(),
        python_version=platform.python_version(),
        host_version=VERSION,
        cpu=_read_cpu(problems),
        memory=MemoryInfo(total_bytes=memory.total, available_bytes=memory.available),
        accelerators=find_accelerators(problems),
        disk=read_disk(data_dir, problems),
        problems=problems,
    )


def read_disk(folder: Path, problems: list[str]) -> DiskInfo:
    """The disk below a folder, by its nearest parent that exists."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        usage = psutil.disk_usage(str(existing))
    except OSError as error:
        problems.append(f"The free space of {existing} is not known: {error.strerror}.")
        return DiskInfo(path=str(folder), total_bytes=None, free_bytes=None)
    return DiskInfo(path=str(folder), total_bytes=usage.total, free_bytes=usage.free)


def _os_version() -> str:
    if sys.platform == "linux":
        try:
            return platform.freedesktop_os_release().get("PRETTY_NAME", platform.release())
        except OSError:
            return platform.release()
    return platform.mac_ver()[0] if sys.platform == "darwin" else platform.version()


def _read_cpu(problems: list[str]) -> CpuInfo:
    model = _cpu_model(problems)
    if model is None:
        problems.append("The processor's name is not known.")
    return CpuInfo(
        model=model,
        architecture=platform.machine(),
        cores=psutil.cpu_count(logical=False),
        threads=psutil.cpu_count(logical=True),
    )


def _cpu_model(problems: list[str]) -> str | None:
    if sys.platform == "linux":
        return _linux_cpu_model(Path("/proc/cpuinfo"))
    if sys.platform == "darwin":
        return (command_output(["sysctl", "-n", "machdep.cpu.brand_string"], problems) or "").strip() or None
    return platform.processor() or None


def _linux_cpu_model(cpuinfo: Path) -> str | None:
    """The name in cpuinfo: "model name" on x86, "Model" or "Hardware" on ARM boards that tell."""
    found: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found.get("model name") or found.get("Model") or found.get("Hardware") or None
