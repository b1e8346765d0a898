"""The devices that the installed build of ONNX Runtime may use, and what everybody calls them.

What is listed here is what the build *names*; whether a device works is only known by trying (`placement`, `trial`):
names say nothing of drivers, and the engine's own `is_..._available` functions answer True on a CPU build that then
fails (seen in genai 0.18.0). Above it: `placement`, `trial`, `dtypes`. Below it: `plugins`.
"""

import importlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from backends.onnx import plugins
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType

AUTO = "auto"
CPU_PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a session runs: the provider first asked, its options, and the kind of memory that it keeps tensors in.

    vendor is the PCI number of a "gpu"'s maker, -1 where the kind of memory says it.
    also are the providers that take what the first one leaves, before the CPU does; a plug-in's provider is one of
    `onnxruntime.get_ep_devices`. Where it is strict, a graph of which the provider leaves anything to the CPU fails.
    """

    provider: str = CPU_PROVIDER
    options: tuple[tuple[str, str], ...] = ()
    memory: str = "cpu"
    vendor: int = -1
    also: tuple[str, ...] = ()
    plugin: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device, under its names.

    name is ours on the wire, label the one for people, provider ONNX Runtime's, genai that of onnxruntime-genai ("" for
    the CPU, None where it cannot use the device), reported what a genai model on it says of itself. memory is where
    tensors are kept between runs, also the providers that take what the first one leaves. Only an automatic device is
    tried unasked.
    """

    name: str
    label: str
    provider: str
    backend_type: BackendType
    genai: str | None = None
    reported: str = ""
    memory: str = "cpu"
    vendor: int = -1
    also: tuple[str, ...] = ()
    automatic: bool = True
    plugin: bool = False

    @property
    def placement(self) -> Placement:
        """The same for a session of ONNX Runtime."""
        return Placement(self.provider, memory=self.memory, vendor=self.vendor, also=self.also, plugin=self.plugin)


CPU = Device("cpu", "the CPU", CPU_PROVIDER, BackendType.ONNX_CPU, "", "CPU")

_CUDA = "CUDAExecutionProvider"
_AMD, _NO_VENDOR = 0x1002, 0

DEVICES = (
    CPU,
    Device("cuda", "CUDA", _CUDA, BackendType.ONNX_CUDA, "cuda", "CUDA", memory="cuda"),
    Device("migraphx", "MIGraphX", "MIGraphXExecutionProvider", BackendType.ONNX_ROCM, memory="gpu", vendor=_AMD),
    Device("directml", "DirectML", "DmlExecutionProvider", BackendType.ONNX_DIRECTML, "dml", "DirectML", memory="dml"),
    Device("openvino", "OpenVINO", "OpenVINOExecutionProvider", BackendType.ONNX_OPENVINO, "OpenVINO", "OpenVINO"),
    Device(
        "webgpu",
        "WebGPU",
        "WebGpuExecutionProvider",
        BackendType.ONNX_WEBGPU,
        "WebGPU",
        "WebGPU",
        memory="gpu",
        vendor=_NO_VENDOR,
    ),
    Device(
        "tensorrt",
        "TensorRT",
        "TensorrtExecutionProvider",
        BackendType.ONNX_CUDA,
        memory="cuda",
        also=(_CUDA,),
        automatic=False,
    ),
    Device(
        "tensorrt-rtx",
        "TensorRT for RTX",
        "NvTensorRTRTXExecutionProvider",
        BackendType.ONNX_CUDA,
        "NvTensorRtRtx",
        "NvTensorRtRtx",
        memory="cuda",
        automatic=False,
    ),
    Device("npu", "QNN", "QNNExecutionProvider", BackendType.ONNX_NPU, "qnn", "QnnWithSharedMemory", automatic=False),
    Device("coreml", "CoreML", "CoreMLExecutionProvider", BackendType.ONNX_COREML, automatic=False),
)
"""The CPU, then the accelerators, the one to be tried first before the others.

Not automatic are those that do badly with a text model not made for them: TensorRT and TensorRT for RTX compile for
minutes, QNN and CoreML take graphs of fixed shapes only and leave the rest to the CPU.
"""

_NO_DEVICES = frozenset({"AzureExecutionProvider"})
"""Providers that compute elsewhere: never used."""


def find_devices(with_plugins: bool = True) -> tuple[Device, ...]:
    """The devices that this build and the registered plug-ins name, in the order of preference.

    Plug-ins are libraries of the user's that run in this process as soon as they are looked for.
    """
    runtime = importlib.import_module("onnxruntime")
    built = set(runtime.get_available_providers())
    known = tuple(device for device in DEVICES if device.provider in built)
    return (*known, *_plugin_devices(built)) if with_plugins else known


def device_of(provider: str) -> Device:
    """The device of one of ONNX Runtime's providers."""
    for device in DEVICES:
        if device.provider == provider:
            return device
    name = provider.removesuffix("ExecutionProvider")
    return Device(name.lower(), name, provider, BackendType.ONNX_PLUGIN, provider, plugin=True)


def device_of_genai(name: str) -> Device:
    """The device that genai calls so: a provider in a folder's config, or what a loaded model says it is on."""
    folded = name.casefold()
    for device in DEVICES:
        if folded in {device.reported.casefold(), (device.genai or "cpu").casefold()} - {""}:
            return device
    return device_of(name)


def named_device(name: str, devices: Sequence[Device]) -> Device:
    """The device of that name; HostError `unsupported_option`, with the names that there are, if there is none."""
    for device in devices:
        if device.name == name:
            return device
    raise no_device(f"The installed ONNX Runtime has no device {name!r}", devices)


def no_device(reason: str, devices: Collection[Device]) -> HostError:
    """The error for a device that cannot be had. The reason is half a sentence."""
    known = ", ".join(device.name for device in devices)
    return HostError(
        ErrorCode.UNSUPPORTED_OPTION,
        f"{reason}; it has: {known}.",
        fields=[f"options.device: must be one of {AUTO}, {known}"],
    )


def _plugin_devices(built: set[str]) -> list[Device]:
    """The devices of plug-ins; what the build has itself is not listed again."""
    providers = [name for name in plugins.providers() if name not in built | _NO_DEVICES]
    return [replace(device_of(provider), plugin=True) for provider in providers]
