"""Asks the installed engine for its version and devices, in a process of its own."""

from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.trial import usable_devices
from backends.registry import EngineProbe


def probe() -> EngineProbe:
    """Start the engine and try its devices; ImportError or OSError if it does not start, EngineError if it fails."""
    return EngineProbe(version=GenaiLibrary().version, devices=usable_devices())
