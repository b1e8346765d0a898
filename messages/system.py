"""Fields of `get_system_info`: what machine this is. Sizes are bytes; what is not known is null."""

from enum import StrEnum

from messages.facts import Fact


class AcceleratorKind(StrEnum):
    """What an accelerator is."""

    GPU = "gpu"
    NPU = "npu"


class CpuInfo(Fact):
    """The processor; `cores` are physical, `threads` are what the system runs at the same time."""

    model: str | None
    architecture: str
    cores: int | None
    threads: int | None


class MemoryInfo(Fact):
    """The machine's memory; `available` is what can be had without swapping."""

    total_bytes: int
    available_bytes: int


class AcceleratorInfo(Fact):
    """A GPU or NPU. Its memory is null where it has none of its own or does not tell."""

    kind: AcceleratorKind
    name: str
    vendor: str | None = None
    memory_bytes: int | None = None
    free_memory_bytes: int | None = None


class DiskInfo(Fact):
    """The disk that models and statistics are kept on."""

    path: str
    total_bytes: int | None
    free_bytes: int | None


class SystemInfo(Fact):
    """The machine. `problems` holds a sentence for each thing that could not be found out."""

    os: str
    os_version: str
    python_version: str
    host_version: str
    cpu: CpuInfo
    memory: MemoryInfo
    accelerators: list[AcceleratorInfo]
    disk: DiskInfo
    problems: list[str]
