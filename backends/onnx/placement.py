"""Puts a model on a device: tries, falls back, tells, and finds the number of threads, the same way for every kind.

A loader says in a `Plan` how its kind of model is started and freed; `place` does the rest, and gives the model back
with everything that a `ModelInfo` needs. Above it: the loaders of both layouts. Below it: `devices`, `threads`.
"""

import importlib
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import psutil

from backends.base import LoadSpec, ModelInfo, ProgressCallback
from backends.guards import MARGIN_BYTES, require_memory
from backends.onnx.devices import (
    AUTO,
    CPU,
    Device,
    Placement,
    device_of,
    device_of_genai,
    find_devices,
    named_device,
    no_device,
)
from backends.onnx.interface import EngineError
from backends.onnx.remembered import weights_key
from backends.onnx.session import Session
from backends.onnx.threads import OtherWork, ThreadCounts, physical_cores, second_is_faster
from backends.onnx.transformersjs.dtypes import choose_dtype
from messages.facts import Capabilities

logger = logging.getLogger("tabagent.onnx")

Model = TypeVar("Model")

REASON_CHARACTERS = 200
"""How much of an engine's complaint a note quotes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to run a model. threads None leaves their number to the engine.

    dtype is None for a layout that has one kind of weights in a folder. Where `as_folder_says`, the options that a
    genai folder brings for the device hold.
    """

    device: Device
    dtype: str | None
    threads: int | None
    as_folder_says: bool = False

    @property
    def placement(self) -> Placement:
        """Where sessions of ONNX Runtime run."""
        return self.device.placement


@dataclass(frozen=True, slots=True)
class Plan(Generic[Model]):
    """What `place` must know of a kind of model. Sizes are bytes.

    graphs: the graphs' files by dtype. weights_bytes, needed_bytes: of the weights on disk, and in memory with
    everything, by dtype. start: load it and run it once, so that a device that cannot run it fails now; raises
    EngineError then. stop: free it. device: what it says that it runs on. step: some work like that of one token, for
    timing; None: nothing is timed. dtypes: those of the folder; providers: what it asks for itself; None for a layout
    without. usable: whether the engine knows how to use a device. engine: its name and version.
    """

    graphs: Callable[[str | None], Sequence[Path]]
    weights_bytes: Callable[[str | None], int]
    needed_bytes: Callable[[str | None], int]
    start: Callable[[Choice], Model]
    stop: Callable[[Model], None]
    device: Callable[[Model], Device]
    step: Callable[[Model], None] | None = None
    dtypes: Collection[str] | None = None
    providers: tuple[str, ...] | None = None
    usable: Callable[[Device], bool] = lambda device: True
    engine: str = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Placed(Generic[Model]):
    """A started model, how it runs, and what must be told of that."""

    model: Model
    choice: Choice
    size_bytes: int
    notes: tuple[str, ...]

    def info(self, context_length: int | None, capabilities: Capabilities) -> ModelInfo:
        """What is told of it."""
        return ModelInfo(
            backend_type=self.choice.device.backend_type,
            context_length=context_length,
            size_bytes=self.size_bytes,
            device=self.choice.device.name,
            capabilities=capabilities,
            dtype=self.choice.dtype,
            notes=self.notes,
        )


def place(spec: LoadSpec, plan: Plan[Model], progress: ProgressCallback) -> Placed[Model]:
    """Start a model on the device that was asked for, or on the best one that takes it, the CPU last.

    Raises EngineError where the CPU does not take it either; HostError `unsupported_option` for a device or dtype that
    cannot be had, `out_of_memory`, and what `plan` raises.
    """
    return _Placing(spec, plan, progress).run()


def session_device(session: Session) -> Device:
    """The device that a session runs on, as it says itself."""
    return device_of(session.raw.get_providers()[0])


class _Placing(Generic[Model]):
    """One call of `place`."""

    def __init__(self, spec: LoadSpec, plan: Plan[Model], progress: ProgressCallback) -> None:
        self._spec = spec
        self._plan = plan
        self._progress = progress
        self._wanted = None if spec.options.device is None else spec.options.device.lower()
        self._there = [device for device in find_devices(with_plugins=self._wanted != CPU.name) if plan.usable(device)]
        self._own = self._find(device_of_genai(plan.providers[0])) if plan.providers else None
        self._failed: list[str] = []
        self._counts = ThreadCounts(spec.cache_path)

    def run(self) -> Placed[Model]:
        """Try one device after the other."""
        *before, last = devices = self._candidates()
        for device in before:
            try:
                return self._try(device)
            except EngineError as error:
                self._failed.append(f"{device.label} could not be used ({_short(error)})")
        if last == CPU or len(devices) > 1:
            return self._try(last)
        return self._try_asked(last)

    def _find(self, own: Device) -> Device | None:
        """The device that a folder asks for, as it is here; None for the CPU, which has no options of its own."""
        here = next((device for device in self._there if device.name == own.name), own)
        return None if here == CPU else here

    def _candidates(self) -> list[Device]:
        if self._wanted is not None and self._wanted != AUTO:
            return [named_device(self._wanted, self._there)]
        if self._wanted is None and self._plan.providers is not None:
            return [CPU] if self._own is None else [self._own, CPU]
        return [*(device for device in self._there if device.automatic and device != CPU), CPU]

    def _try_asked(self, device: Device) -> Placed[Model]:
        try:
            return self._try(device)
        except EngineError as error:
            others = [other for other in self._there if other != device]
            raise no_device(f"The model cannot run on {device.label} ({_short(error)})", others) from error

    def _try(self, device: Device) -> Placed[Model]:
        dtype = self._dtype(device)
        size = self._plan.weights_bytes(dtype)
        require_memory(self._spec.path, self._plan.needed_bytes(dtype))
        weights = "weights" if dtype is None else f"{dtype} weights"
        self._progress("loading", None, f"Loading {size / 1e6:.0f} MB of {weights} on {device.label}.")
        choice = Choice(device, dtype, self._threads(device, dtype), as_folder_says=device == self._own)
        model = self._plan.start(choice)
        used = self._used(model, choice)
        if device == CPU and self._spec.options.threads is None:
            model, choice = self._tune(model, choice)
        return Placed(model, replace(choice, device=used), size, tuple(self._notes(choice, used)))

    def _used(self, model: Model, choice: Choice) -> Device:
        """The device that the model says it is on; EngineError if another was to be tried."""
        used = self._plan.device(model)
        if used.name == choice.device.name:
            return choice.device
        if not (choice.as_folder_says and self._wanted is None):
            self._plan.stop(model)
            raise EngineError(f"the engine took {used.label} instead")
        return used

    def _dtype(self, device: Device) -> str | None:
        if self._plan.dtypes is None:
            return None
        return choose_dtype(self._spec.options.dtype, self._plan.dtypes, device)

    def _notes(self, choice: Choice, used: Device) -> Iterator[str]:
        if self._failed:
            yield f"{' and '.join(self._failed)}; the model runs on {used.label}."
        elif self._wanted == AUTO and used == CPU:
            yield "The installed ONNX Runtime has no accelerator for this model; it runs on the CPU."
        if used != choice.device:
            yield f"The folder asks for {choice.device.label}; the engine says that the model is on {used.label}."
        if self._spec.options.dtype in (None, AUTO) and len(self._plan.dtypes or ()) > 1:
            yield f"Of the folder's weights ({', '.join(sorted(self._plan.dtypes or ()))}) {choice.dtype} was taken."

    def _threads(self, device: Device, dtype: str | None) -> int | None:
        """Threads to start with: those asked for, remembered, or one a core; None on an accelerator."""
        asked = self._spec.options.threads
        if asked is not None or device != CPU:
            return asked
        return self._known(dtype) or physical_cores()

    def _known(self, dtype: str | None) -> int | None:
        """What was measured before."""
        return self._counts.get(self._key(dtype), physical_cores()) if self._counts.lasting else None

    def _key(self, dtype: str | None) -> str:
        runtime = importlib.import_module("onnxruntime").__version__
        return weights_key(self._plan.graphs(dtype), dtype, self._plan.engine, runtime, physical_cores())

    def _tune(self, model: Model, choice: Choice) -> tuple[Model, Choice]:
        """Measure one thread fewer, if that was never done and there is memory for a second copy; keep the faster."""
        step, cores = self._plan.step, physical_cores()
        if step is None or cores < 2 or not self._counts.lasting or self._known(choice.dtype) is not None:
            return model, choice
        if psutil.virtual_memory().available < self._plan.needed_bytes(choice.dtype) + MARGIN_BYTES:
            return model, choice
        self._progress("threads", 0.7, "Measuring how many threads are best, once for this model.")
        fewer = replace(choice, threads=cores - 1)
        try:
            other = self._plan.start(fewer)
        except EngineError as error:
            logger.warning("A second copy to measure threads with cannot be had: %s", error)
            return model, choice
        work = OtherWork()
        faster = second_is_faster(lambda: step(model), lambda: step(other))
        kept, chosen, spare = (other, fewer, model) if faster else (model, choice, other)
        self._counts.put(self._key(choice.dtype), chosen.threads or cores, work)
        self._plan.stop(spare)
        return kept, chosen


def _short(error: EngineError) -> str:
    """An engine's complaint, cut to what a note has room for."""
    text = str(error).rstrip(".")
    return text if len(text) <= REASON_CHARACTERS else f"{text[:REASON_CHARACTERS].rstrip()}..."
