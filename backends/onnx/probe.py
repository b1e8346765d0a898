"""Asks the installed engine for its version and devices, in a process of its own."""

import importlib.metadata

from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.trial import usable_devices
from backends.registry import EngineProbe


def probe() -> EngineProbe:
    """Start the engine and try its devices; ImportError or OSError if it does not start, EngineError if it fails."""
    GenaiLibrary()
    version = importlib.metadata.version("onnxruntime-genai")
    return EngineProbe(version=version, devices=usable_devices())
