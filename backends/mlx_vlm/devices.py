"""What MLX can run on here, by its own word: Metal, CUDA, or the processor alone."""

from dataclasses import dataclass

import mlx.core as mx

from messages.errors import ErrorCode, HostError
from messages.facts import BackendType


@dataclass(frozen=True, slots=True)
class MlxDevice:
    """A device. `name` is what a load asks for, `label` what a person reads, `step` how many tokens of a prompt are
    read at once, `look` how many parts of a vision tower are
    computed at once.
    """

    name: str
    backend_type: BackendType
    kind: mx.DeviceType
    label: str
    step: int
    look: int


CPU_STEP, GPU_STEP = 16, 512
"""A stop waits for one step. On the processor many tokens at once cost as much as one by one (mlx 0.32)."""

CPU_LOOK, GPU_LOOK = 1, 8


def usable_devices() -> tuple[MlxDevice, ...]:
    """The devices, the best first."""
    cpu = MlxDevice("cpu", BackendType.MLX_CPU, mx.cpu, "cpu", CPU_STEP, CPU_LOOK)
    if mx.metal.is_available():
        return MlxDevice("metal", BackendType.MLX_METAL, mx.gpu, _label("metal"), GPU_STEP, GPU_LOOK), cpu
    if mx.cuda.is_available():
        return MlxDevice("cuda", BackendType.MLX_CUDA, mx.gpu, _label("cuda"), GPU_STEP, GPU_LOOK), cpu
    return (cpu,)


def choose_device(wanted: str | None) -> MlxDevice:
    """The device that a load asks for ("gpu" is whichever there is), the best one if it does not say.

    Raises HostError `unsupported_option` if it is not there.
    """
    devices = usable_devices()
    if wanted in (None, "auto"):
        return devices[0]
    for device in devices:
        if wanted == device.name or (wanted == "gpu" and device.kind == mx.gpu):
            return device
    known = ", ".join(["auto", *(device.name for device in devices)])
    raise HostError(
        ErrorCode.UNSUPPORTED_OPTION,
        f"MLX has no device {wanted!r} here; it has {known}.",
        fields=[f"options.device: must be one of {known}"],
    )


def _label(name: str) -> str:
    found = mx.device_info().get("device_name")
    return f"{name} ({found})" if found else name
