"""The devices that this build of llama.cpp can use, and the one that a model is to run on."""

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
from llama_cpp._ctypes_extensions import load_shared_library

from messages.errors import ErrorCode, HostError
from messages.facts import BackendType
from messages.options import LoadOptions

AUTO = "auto"
CPU = "cpu"

_GPU_TYPES = (1, 2)
"""Discrete and integrated GPUs (`enum ggml_backend_dev_type`, ggml-backend.h)."""

_KINDS = {
    "cuda": BackendType.LLAMA_CPP_CUDA,
    "vulkan": BackendType.LLAMA_CPP_VULKAN,
    "rocm": BackendType.LLAMA_CPP_ROCM,
    "hip": BackendType.LLAMA_CPP_ROCM,
    "metal": BackendType.LLAMA_CPP_METAL,
    "mtl": BackendType.LLAMA_CPP_METAL,
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of this build: its name ("CUDA0"), its handle in ggml, and what it counts as."""

    name: str
    handle: int
    backend_type: BackendType
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model is to run. gpus is empty on the CPU; gpu_layers -1 means all."""

    gpus: tuple[Gpu, ...] = ()
    gpu_layers: int = 0

    @property
    def backend_type(self) -> BackendType:
        """What the placement counts as."""
        return self.gpus[0].backend_type if self.gpus else BackendType.LLAMA_CPP_CPU

    @property
    def device(self) -> str:
        """The device's name."""
        return ", ".join(gpu.name for gpu in self.gpus) or CPU


def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs of a kind that has a `BackendType`; empty on a build without GPU support."""
    if not llama_cpp.llama_supports_gpu_offload():
        return ()
    ggml = _Ggml()
    gpus = (_gpu(ggml, ggml.device(place)) for place in range(ggml.device_count()))
    return tuple(gpu for gpu in gpus if gpu is not None)


def place(options: LoadOptions, gpus: tuple[Gpu, ...]) -> Placement:
    """Choose where to run: on the named device, else ("auto") on all GPUs there are, else on the CPU.

    Raises HostError `unsupported_option` for a device that is not there, and for GPU layers without a GPU.
    """
    chosen = gpus if options.device in (None, AUTO) else _named(options.device, gpus)
    layers = -1 if options.gpu_layers is None else options.gpu_layers
    if not chosen and layers > 0:
        where = "this build of llama.cpp has no GPU" if not gpus else "the device is the CPU"
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"gpu_layers is {layers}, but {where}. Leave it out.",
            fields=["options.gpu_layers"],
        )
    return Placement(chosen, layers) if chosen and layers else Placement()


def _named(name: str, gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    if name.lower() == CPU:
        return ()
    for gpu in gpus:
        if gpu.name.lower() == name.lower():
            return (gpu,)
    known = ", ".join([CPU, *(gpu.name for gpu in gpus)])
    raise HostError(
        ErrorCode.UNSUPPORTED_OPTION,
        f"There is no device {name!r} here; there is {known}.",
        fields=[f"options.device: must be one of {AUTO}, {known}"],
    )


class _Ggml:
    """The part of ggml's device interface (ggml-backend.h) that llama_cpp does not wrap."""

    def __init__(self) -> None:
        folder = Path(llama_cpp.__file__).parent / "lib"
        registry = load_shared_library("ggml", folder)
        base = load_shared_library("ggml-base", folder)
        self.device_count = _function(registry, "ggml_backend_dev_count", ctypes.c_size_t)
        self.device = _function(registry, "ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
        self.name = _function(base, "ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
        self.kind = _function(base, "ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
        size = ctypes.POINTER(ctypes.c_size_t)
        self._memory = _function(base, "ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)

    def free_bytes(self, device: int) -> int:
        """Free memory of a device, in bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._memory(device, ctypes.byref(free), ctypes.byref(total))
        return free.value


def _gpu(ggml: _Ggml, device: int) -> Gpu | None:
    name = ggml.name(device).decode("utf-8", "replace")
    kind = next((kind for prefix, kind in _KINDS.items() if name.lower().startswith(prefix)), None)
    if ggml.kind(device) not in _GPU_TYPES or kind is None:
        return None
    return Gpu(name, device, kind, ggml.free_bytes(device))


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype = result
    function.argtypes = arguments
    return function
