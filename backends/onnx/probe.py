"""Asks the installed engine for its version and devices, in a process of its own."""

import importlib.metadata

from backends.onnx.devices import available_devices
from backends.onnx.genai.capi import GenaiLibrary
from backends.registry import EngineProbe


def probe() -> EngineProbe:
    """Start the engine; ImportError or OSError if it does not."""
    GenaiLibrary()
    version = importlib.metadata.version("onnxruntime-genai")
    return EngineProbe(version=version, devices=tuple(device.name for device in available_devices()))
