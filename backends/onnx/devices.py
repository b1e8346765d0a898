"""The devices that the installed build of ONNX Runtime can use, and what the engine calls them.

The engine's own `is_..._available` functions answer True on a CPU build that then fails (seen in genai 0.18.0), so the
list of providers that ONNX Runtime was built with decides, and after a load the device that the model says it is on.
"""

import importlib
from dataclasses import dataclass

from messages.errors import ErrorCode, HostError
from messages.facts import BackendType


@dataclass(frozen=True, slots=True)
class Device:
    """One kind of device: our name, genai's name of its provider ("" for the CPU), ONNX Runtime's, and ours for both.

    `reported` is what a model on it says of itself.
    """

    name: str
    provider: str
    runtime_provider: str
    backend_type: BackendType
    reported: str


DEVICES = (
    Device("cpu", "", "CPUExecutionProvider", BackendType.ONNX_CPU, "CPU"),
    Device("cuda", "cuda", "CUDAExecutionProvider", BackendType.ONNX_CUDA, "CUDA"),
    Device("directml", "dml", "DmlExecutionProvider", BackendType.ONNX_DIRECTML, "DirectML"),
    Device("npu", "qnn", "QNNExecutionProvider", BackendType.ONNX_NPU, "QnnWithSharedMemory"),
    Device("openvino", "OpenVINO", "OpenVINOExecutionProvider", BackendType.ONNX_OPENVINO, "OpenVINO"),
)


def available_devices() -> tuple[Device, ...]:
    """The devices of this build; imports ONNX Runtime."""
    built = importlib.import_module("onnxruntime").get_available_providers()
    return tuple(device for device in DEVICES if device.runtime_provider in built)


def choose_device(wanted: str | None, folder_providers: tuple[str, ...]) -> Device:
    """The device to load on: the wanted one, else the one the folder was made for if the build has it, else the CPU.

    Raises HostError `unsupported_option` for a device that the build does not have.
    """
    devices = available_devices()
    for device in devices:
        if device.name == wanted:
            return device
    if wanted is not None:
        known = ", ".join(device.name for device in devices)
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The installed ONNX Runtime has no device {wanted!r}; it has: {known}.",
            fields=[f"options.device: must be one of {known}"],
        )
    asked = {provider.lower() for provider in folder_providers}
    return next((device for device in devices if device.provider.lower() in asked), DEVICES[0])


def reported_device(name: str) -> Device:
    """The device that a loaded model says it is on; HostError `unsupported_option` for one we do not know."""
    for device in DEVICES:
        if device.reported == name:
            return device
    raise HostError(ErrorCode.UNSUPPORTED_OPTION, f"The model runs on {name}, which this backend does not know.")
