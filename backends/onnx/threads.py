"""How many threads an engine computes with: the physical cores, or one fewer where that was measured to be faster.

One fewer leaves a core to everything else; whether that pays depends on model and machine, so it is measured, once.
Above it: `placement`. Below it: nothing that knows an engine.
"""

import time
from collections.abc import Callable
from statistics import median

import psutil

STEPS = 16
"""Most steps that are timed for each number of threads."""

SECONDS = 0.5
"""Most time that they take for each number of threads, as long as one step is shorter."""

BLOCK = 4
"""Steps in a row, before it is the other's turn: a machine's other work then hits both alike."""

GAIN = 0.97
"""One thread fewer is taken if a step takes less than this part of the time."""

Step = Callable[[], None]


def physical_cores() -> int:
    """The physical cores that this process may use; at least 1."""
    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    return max(1, min(psutil.cpu_count(logical=False) or allowed, allowed))


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


def _time_block(step: Step, times: list[float], clock: Callable[[], float]) -> None:
    for _ in range(BLOCK):
        if len(times) >= STEPS or sum(times) >= SECONDS:
            return
        begin = clock()
        step()
        times.append(clock() - begin)
