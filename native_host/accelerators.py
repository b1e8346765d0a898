"""Finds GPUs and NPUs with the system's own means: no engine is imported, and none of this needs one.

Above it: `native_host.system_info`. A tool that fails is a sentence in `problems`; one that is not there is not.
"""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from messages.system import AcceleratorInfo, AcceleratorKind
from native_host.commands import command_output

_MIB = 1024 * 1024
_SYS_CLASS = Path("/sys/class")
_NVIDIA = "0x10de"
_VENDORS = {_NVIDIA: "NVIDIA", "0x1002": "AMD", "0x8086": "Intel", "0x13b5": "Arm", "0x5143": "Qualcomm"}
"""PCI vendors of GPUs that compute; a server's or a virtual machine's display adapter is not one."""

_NPU_DRIVERS = {
    "intel_vpu": ("Intel NPU", "Intel"),
    "amdxdna": ("AMD XDNA NPU", "AMD"),
    "habanalabs": ("Habana Gaudi", "Intel"),
    "qaic": ("Qualcomm Cloud AI 100", "Qualcomm"),
    "rocket": ("Rockchip NPU", "Rockchip"),
}
"""Drivers below /sys/class/accel (the kernel's drivers/accel)."""


def find_accelerators(problems: list[str]) -> list[AcceleratorInfo]:
    """Every GPU and NPU that this machine tells of."""
    found = list(nvidia_gpus(problems))
    if sys.platform == "linux":
        found += linux_gpus(_SYS_CLASS / "drm", with_nvidia=not found)
        found += linux_npus(_SYS_CLASS / "accel")
    elif sys.platform == "darwin":
        found += mac_accelerators(problems)
    elif sys.platform == "win32":
        found += windows_gpus(problems, with_nvidia=not found)
    return found


def nvidia_gpus(problems: list[str]) -> Iterator[AcceleratorInfo]:
    """What nvidia-smi lists, if it is there; its memory is in MiB, or "[N/A]" where it is shared with the CPU."""
    if shutil.which("nvidia-smi") is None:
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    for line in (command_output(query, problems) or "").splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) != 3:
            problems.append(f"nvidia-smi said what is not understood: {line[:100]!r}.")
            continue
        yield AcceleratorInfo(
            kind=AcceleratorKind.GPU,
            name=values[0],
            vendor="NVIDIA",
            memory_bytes=_mebibytes(values[1]),
            free_memory_bytes=_mebibytes(values[2]),
        )


def linux_gpus(drm: Path, *, with_nvidia: bool) -> Iterator[AcceleratorInfo]:
    """The kernel's graphics cards; amdgpu tells their memory (Documentation/gpu/amdgpu/driver-misc.rst)."""
    for card in sorted(drm.glob("card*")):
        vendor = _read(card / "device" / "vendor")
        if not re.fullmatch(r"card\d+", card.name) or vendor not in _VENDORS:
            continue
        if vendor == _NVIDIA and not with_nvidia:
            continue
        total, used = (_number(card / "device" / f"mem_info_vram_{name}") for name in ("total", "used"))
        yield AcceleratorInfo(
            kind=AcceleratorKind.GPU,
            name=f"{_VENDORS[vendor]} GPU {_read(card / 'device' / 'device') or ''}".strip(),
            vendor=_VENDORS[vendor],
            memory_bytes=total,
            free_memory_bytes=None if total is None or used is None else total - used,
        )


def linux_npus(accel: Path) -> Iterator[AcceleratorInfo]:
    """The kernel's compute accelerators, named after their driver."""
    for device in sorted(accel.glob("accel*")):
        driver = re.search(r"^DRIVER=(.+)$", _read(device / "device" / "uevent") or "", re.MULTILINE)
        name, vendor = _NPU_DRIVERS.get(driver[1] if driver else "", (f"NPU {device.name}", None))
        yield AcceleratorInfo(kind=AcceleratorKind.NPU, name=name, vendor=vendor)


def mac_accelerators(problems: list[str]) -> Iterator[AcceleratorInfo]:
    """What system_profiler lists; Apple's own chips share the machine's memory and have a Neural Engine."""
    output = command_output(["system_profiler", "-json", "SPDisplaysDataType"], problems)
    for display in _parsed(output, problems, "system_profiler").get("SPDisplaysDataType", []):
        name = display.get("sppci_model", "GPU")
        yield AcceleratorInfo(kind=AcceleratorKind.GPU, name=name, memory_bytes=_video_memory(display))
        if name.startswith("Apple"):
            yield AcceleratorInfo(kind=AcceleratorKind.NPU, name="Apple Neural Engine", vendor="Apple")


def windows_gpus(problems: list[str], *, with_nvidia: bool) -> Iterator[AcceleratorInfo]:
    """What Windows lists, without memory: AdapterRAM is 32 bits wide and wrong above 4 GiB."""
    script = "ConvertTo-Json @((Get-CimInstance Win32_VideoController).Name)"
    output = command_output(["powershell", "-NoProfile", "-NonInteractive", "-Command", script], problems)
    for name in re.findall(r'"([^"]+)"', output or ""):
        if with_nvidia or "nvidia" not in name.lower():
            yield AcceleratorInfo(kind=AcceleratorKind.GPU, name=name)


def _mebibytes(text: str) -> int | None:
    return int(text) * _MIB if text.isdecimal() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdecimal() else None


def _parsed(output: str | None, problems: list[str], tool: str) -> dict[str, list[dict[str, str]]]:
    if output is None:
        return {}
    try:
        value = json.loads(output)
    except ValueError:
        problems.append(f"{tool} said what is not JSON.")
        return {}
    return value if isinstance(value, dict) else {}


def _video_memory(display: dict[str, str]) -> int | None:
    """Such as "spdisplays_vram": "4 GB" on a Mac with a card of its own."""
    text = display.get("spdisplays_vram") or display.get("spdisplays_vram_shared") or ""
    match = re.fullmatch(r"(\d+) (MB|GB)", text)
    return int(match[1]) * (_MIB if match[2] == "MB" else 1024 * _MIB) if match else None
