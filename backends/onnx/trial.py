"""Tries devices on a graph of one multiplication: what works here works for a model, as far as drivers go.

`python -m backends.onnx.trial PROVIDER FILE` tries one of the build's providers, `... plugins FILE` those of the
plug-ins that the environment names, and writes the usable devices' names to FILE, as JSON. A process for each, because
a provider may crash, hang or print. Above it: `probe`.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backends.onnx.devices import CPU, Device, device_of, find_devices
from backends.onnx.interface import EngineError
from backends.onnx.plugins import VARIABLE, named_plugins
from backends.onnx.session import Session

logger = logging.getLogger("tabagent.onnx")

TIMEOUT_S = 30.0
"""How long one process may take, in seconds: a GPU's libraries are large and read from disk at first."""

PLUGINS = "plugins"
_SOURCES = Path(__file__).parents[2]

MATRIX_PRODUCT = (
    b'\x08\x08:@\n\x11\n\x01a\n\x01a\x12\x01b"\x06MatMul\x12\x01tZ\x13\n\x01a\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x04\n'
    b"\x02\x08\x04b\x13\n\x01b\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x04\n\x02\x08\x04B\x04\n\x00\x10\r"
)
"""An ONNX model that gives `b = a @ a` for an `a` of `(4, 4) float32` (IR version 8, operator set 13)."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a device: why it is not usable, or None if it is."""

    name: str
    problem: str | None


def try_device(device: Device) -> Tried:
    """Multiply on a device and look at the result; nothing is left to the CPU."""
    placement = replace(device.placement, strict=device != CPU, also=())
    square = np.arange(16, dtype=np.float32).reshape(4, 4)
    try:
        session = Session(MATRIX_PRODUCT, placement, threads=1)
        (result,) = session.run_arrays({"a": square}, ["b"])
    except EngineError as error:
        return Tried(device.name, str(error))
    return Tried(device.name, None if np.allclose(result, square @ square) else "it computes wrongly")


def usable_devices() -> tuple[str, ...]:
    """The names of the devices that work here, the CPU first.

    The CPU is tried in this process, every other provider and each plug-in library in one of its own, all at the same
    time. Raises EngineError if not even the CPU works.
    """
    cpu = try_device(CPU)
    if cpu.problem is not None:
        raise EngineError(cpu.problem)
    builtin = [device.provider for device in find_devices(with_plugins=False) if device != CPU]
    subjects = [(provider, "") for provider in builtin]
    subjects += [(PLUGINS, str(plugin)) for plugin in ("", *named_plugins())]
    return tuple(dict.fromkeys([CPU.name, *_in_processes(subjects)]))


def _in_processes(subjects: Sequence[tuple[str, str]]) -> list[str]:
    """Devices that work, found by one process for each subject and the plug-ins that it is to know of."""
    deadline = time.monotonic() + TIMEOUT_S
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        answers = [Path(folder) / f"{number}.json" for number in range(len(subjects))]
        processes = [_start(*subject, answer) for subject, answer in zip(subjects, answers, strict=True)]
        for process, answer in zip(processes, answers, strict=True):
            _finish(process, deadline)
            found += _read(answer)
    return found


def _start(subject: str, plugins: str, answer: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "backends.onnx.trial", subject, str(answer)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(_SOURCES), VARIABLE: plugins},
    )


def _finish(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a trial's end, and end it when its time is over."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(answer: Path) -> list[str]:
    """What a trial wrote; a provider may crash on its way out, after that. Nothing if it did before."""
    try:
        return [str(name) for name in json.loads(answer.read_bytes())]
    except (FileNotFoundError, ValueError):
        return []


def main() -> None:
    """Try what the first argument names; the usable devices' names go to the file that the second names."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    subject, answer = sys.argv[1], Path(sys.argv[2])
    plugins = [device for device in find_devices() if device.plugin]
    tried = [try_device(device) for device in (plugins if subject == PLUGINS else [device_of(subject)])]
    for one in tried:
        if one.problem is not None:
            logger.warning("%s cannot be used: %s", one.name, one.problem)
    answer.write_text(json.dumps([one.name for one in tried if one.problem is None]), encoding="utf-8")


if __name__ == "__main__":
    main()
