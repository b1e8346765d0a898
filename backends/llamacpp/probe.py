"""Asks the engine for its version and devices; run in a process of its own, since it imports the engine."""

import llama_cpp

from backends.llamacpp.devices import CPU, list_gpus
from backends.registry import EngineProbe


def probe() -> EngineProbe:
    """The version of llama-cpp-python, and the names that the `device` option takes here."""
    return EngineProbe(version=llama_cpp.__version__, devices=(CPU, *(gpu.name for gpu in list_gpus())))
