"""Asks the installed engine for its version and devices, in a process of its own."""

import importlib
import importlib.metadata

from backends.mlx_vlm.devices import usable_devices
from backends.registry import EngineProbe


def probe() -> EngineProbe:
    """Import mlx-vlm, and ask MLX for its devices; ImportError or OSError if it does not start."""
    importlib.import_module("mlx_vlm.generate")
    version = importlib.metadata.version("mlx-vlm")
    return EngineProbe(version=version, devices=tuple(device.name for device in usable_devices()))
