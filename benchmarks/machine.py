"""What the table was measured on."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("llama-cpp-python", "onnxruntime", "onnxruntime-genai")


def describe() -> str:
    """Processor, memory, system, load and versions: one Markdown line each."""
    memory = psutil.virtual_memory().total / 2**30
    load = " ".join(f"{value:.2f}" for value in psutil.getloadavg())
    versions = [f"Python {platform.python_version()}", *filter(None, map(_version, PACKAGES))]
    lines = (
        f"{_processor()}, {psutil.cpu_count(logical=True)} logical cores, {memory:.0f} GiB memory",
        f"{_system()}, Linux {platform.release()}" if platform.system() == "Linux" else platform.platform(),
        ", ".join(versions),
        f"load when it began: {load}",
    )
    return "\n".join(f"- {line}" for line in lines)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return os.name


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""
