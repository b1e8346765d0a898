"""How many threads an engine computes with: the physical cores, or one fewer where that was measured to be faster.

One fewer leaves a core to everything else; whether that pays depends on model and machine, so it is measured, once.
Above it: `placement`. Below it: `remembered`, and nothing that knows an engine.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from backends.onnx.remembered import Remembered

STEPS = 16
"""Most steps that are timed for each number of threads."""

SECONDS = 0.5
"""Most time that they take for each number of threads, as long as one step is shorter."""

BLOCK = 4
"""Steps in a row, before it is the other's turn: a machine's other work then hits both alike."""

GAIN = 0.97
"""One thread fewer is taken if a step takes less than this part of the time."""

QUIET_CORES = 0.25
"""Other processes may keep so much of a core busy while it is measured; with more the answer holds for a day only."""

BUSY_VALID_S = 24 * 3600.0

_SPINNING = "session.intra_op.allow_spinning"

Step = Callable[[], None]


class OtherWork:
    """How much the machine's other processes compute, from the object's making on."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), _others_seconds()

    @property
    def cores(self) -> float:
        """Cores that they kept busy on the average."""
        begin, seconds = self._begin
        return max(0.0, _others_seconds() - seconds) / max(1e-3, time.perf_counter() - begin)


class ThreadCounts:
    """What was found for each model, and until when it holds."""

    def __init__(self, folder: Path | None) -> None:
        """A folder of None remembers nothing."""
        self._remembered = Remembered(folder, "onnx-threads")

    @property
    def lasting(self) -> bool:
        """True if there is a place to remember in."""
        return self._remembered.lasting

    def get(self, key: str, cores: int) -> int | None:
        """The threads for a model, 1 to `cores`; None if it was not measured, or is to be measured again."""
        match self._remembered.get(key):
            case {"threads": int(threads), "until": None | int() | float() as until} if type(threads) is int:
                holds = until is None or time.time() < until
                return threads if holds and 1 <= threads <= cores else None
            case _:
                return None

    def put(self, key: str, threads: int, work: OtherWork) -> None:
        """Remember a measurement, for good if the machine was quiet meanwhile."""
        until = None if work.cores <= QUIET_CORES else time.time() + BUSY_VALID_S
        self._remembered.put(key, {"threads": threads, "until": until})


def physical_cores() -> int:
    """The physical cores that this process may use; at least 1."""
    allowed = _logical_cores()
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


def spinning(threads: int) -> dict[str, str]:
    """The entry of a session's config for so many threads, none where they are no more than the cores.

    Idle threads spin: more of them than there are cores take those from each other, and a load on two cores with a
    thousand threads did not end (onnxruntime 1.31).
    """
    return {_SPINNING: "0"} if threads > _logical_cores() else {}


def _logical_cores() -> int:
    process = psutil.Process()
    return len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1


def second_is_faster(first: Step, second: Step, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Time two ways to do the same, in turns; True if the second is faster by more than measurements differ.

    Both are run once before. Takes at most `STEPS` steps and, where a step takes less, `SECONDS` of each.
    """
    first()
    second()
    times: tuple[list[float], list[float]] = ([], [])
    while any(len(own) < STEPS and sum(own) < SECONDS for own in times):
        for step, own in zip((first, second), times, strict=True):
            _time_block(step, own, clock)
    return median(times[1]) < GAIN * median(times[0])


def _others_seconds() -> float:
    """CPU time of everything but this process since the machine's start, in seconds."""
    times = psutil.cpu_times()
    return float(times.user + times.system + getattr(times, "nice", 0.0) - time.process_time())


def _time_block(step: Step, times: list[float], clock: Callable[[], float]) -> None:
    for _ in range(BLOCK):
        if len(times) >= STEPS or sum(times) >= SECONDS:
            return
        begin = clock()
        step()
        times.append(clock() - begin)
