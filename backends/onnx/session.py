"""ONNX Runtime's session: made for one device and no other, its errors as one exception, its runs to be cut off.

Above it: `transformersjs`. The runtime's own fallback is off: it runs on the CPU without a word of error and prints
"EP Error" to stdout (onnxruntime 1.31, `InferenceSession.__init__`).
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.onnx.devices import CPU_PROVIDER, Placement
from backends.onnx.failures import runtime_failures
from backends.onnx.interface import EngineError
from backends.onnx.threads import spinning
from backends.onnx.wording import plain

ELEMENT_TYPES: dict[int, Any] = {
    1: np.float32,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}
"""numpy's types of the tensors that we feed and read, by the numbers of `TensorProto.DataType`."""

_ERRORS_ONLY = 3
_CPU_MEMORY: Mapping[str, Any] = {"device_type": "cpu"}


class Session:
    """One loaded graph. Raises EngineError whenever the runtime fails."""

    def __init__(self, graph: Path | bytes, placement: Placement, threads: int | None) -> None:
        """Load a graph, a file's or its bytes; EngineError also where the provider does not take it."""
        self._runtime = importlib.import_module("onnxruntime")
        self._failures = runtime_failures()
        self.placement = placement
        with self.failures():
            self.raw = self._runtime.InferenceSession(
                str(graph) if isinstance(graph, Path) else graph,
                _options(self._runtime, placement, threads),
                providers=_providers(placement),
                enable_fallback=0,
            )
        if self.raw.get_providers()[0] != placement.provider:
            raise EngineError(f"{placement.provider} does not take this model")
        self._options = self._runtime.RunOptions()
        self._adapter: dict[str, Any] = {}

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the runtime raises into EngineError."""
        try:
            yield
        except self._failures as error:
            raise EngineError(plain(str(error)) or type(error).__name__) from error

    def binding(self) -> Any:
        """A new `onnxruntime.IOBinding`, in which an active adapter's weights are bound already."""
        with self.failures():
            binding = self.raw.io_binding()
            for name, value in self._adapter.items():
                binding.bind_ortvalue_input(name, value)
            return binding

    def run(self, binding: Any) -> None:
        """Run with a binding; EngineError also if `terminate` was called."""
        with self.failures():
            self.raw.run_with_iobinding(binding, self._options)

    def run_arrays(self, feeds: dict[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Run on arrays in and arrays out."""
        with self.failures():
            arrays: list[npt.NDArray[Any]] = self.raw.run(list(outputs), feeds, self._options)
        return arrays

    def activate(self, adapter: Path) -> None:
        """Use a LoRA adapter (`.onnx_adapter`) in every binding made from now on.

        `RunOptions.add_active_adapter` is no way: a run with a binding does not look at it (onnxruntime 1.31).
        """
        with self.failures():
            given = self._runtime.AdapterFormat.read_adapter(str(adapter)).get_parameters()
        on_cpu = not self.keeps_on_device
        self._adapter = {name: value if on_cpu else self.value(value.numpy()) for name, value in given.items()}

    @property
    def keeps_on_device(self) -> bool:
        """True if tensors are kept in the device's own memory between runs."""
        return self._memory is not _CPU_MEMORY

    @property
    def output_memory(self) -> str:
        """Where `bind_output` can have a tensor made whose size is not known before: it takes no maker's number."""
        placement = self.placement
        return "cpu" if placement.plugin or placement.vendor >= 0 else placement.memory

    def kept(self, value: Any) -> Any:
        """An output as it is to be kept for later runs: on the device, moved there once if it was not made there."""
        return self.value(value.numpy()) if self.keeps_on_device and self.output_memory == "cpu" else value

    def empty(self, shape: Sequence[int], dtype: Any) -> Any:
        """A new `onnxruntime.OrtValue` in the memory of the session's device, its content undefined."""
        with self.failures():
            return self._runtime.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, **self._memory)

    def value(self, array: npt.NDArray[Any]) -> Any:
        """An array as an `onnxruntime.OrtValue` in the memory of the session's device."""
        value = self.empty(array.shape, array.dtype.type)
        if array.size:
            with self.failures():
                value.update_inplace(np.ascontiguousarray(array))
        return value

    @cached_property
    def _memory(self) -> Mapping[str, Any]:
        """The device's memory as `ortvalue_from_shape_and_type` takes it; the CPU's where it cannot be had.

        A plug-in's is what its device says.
        """
        placement = self.placement
        if placement.memory == "cpu" and not placement.plugin:
            return _CPU_MEMORY
        try:
            with self.failures():
                wanted = self._plugin_memory() if placement.plugin else _memory_of(placement)
                self._runtime.OrtValue.ortvalue_from_shape_and_type([1], np.float32, **wanted)
        except EngineError:
            return _CPU_MEMORY
        return wanted

    def _plugin_memory(self) -> Mapping[str, Any]:
        kind = self._runtime.OrtDeviceMemoryType.DEFAULT
        devices = (one for one in self._runtime.get_ep_devices() if one.ep_name == self.placement.provider)
        return {"memory_info": next(devices).memory_info(kind)}

    def terminate(self) -> None:
        """End the running run with an error, and every later one until `resume`; from any thread."""
        self._options.terminate = True

    def resume(self) -> None:
        """Take a `terminate` back."""
        self._options.terminate = False

    def close(self) -> None:
        """Free the graph and its weights."""
        del self.raw


def _memory_of(placement: Placement) -> Mapping[str, Any]:
    return {"device_type": placement.memory, "vendor_id": placement.vendor}


def _options(runtime: Any, placement: Placement, threads: int | None) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
        for name, value in spinning(threads).items():
            options.add_session_config_entry(name, value)
    if placement.strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if placement.plugin:
        devices = [device for device in runtime.get_ep_devices() if device.ep_name == placement.provider]
        options.add_provider_for_devices(devices, dict(placement.options))
    return options


def _providers(placement: Placement) -> list[Any] | None:
    """The placement's provider and those for the nodes that it leaves; a plug-in's stands in the session's options."""
    if placement.plugin:
        return None
    names = dict.fromkeys((placement.provider, *placement.also, *(() if placement.strict else (CPU_PROVIDER,))))
    return [(name, dict(placement.options)) if name == placement.provider else name for name in names]
