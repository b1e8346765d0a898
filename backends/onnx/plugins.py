"""Plug-in execution providers: libraries that the user names in TABAGENT_ORT_PROVIDERS, registered with both runtimes.

`TABAGENT_ORT_PROVIDERS="name=/path/to/library.so;other=..."`. The library's own code decides what its providers and
devices are called (https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries). Nothing is ever loaded from a
model's folder. Above it: `devices`, `genai.loader`.
"""

import importlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.onnx.failures import runtime_failures

logger = logging.getLogger("tabagent.onnx")

VARIABLE = "TABAGENT_ORT_PROVIDERS"
_BUILT_IN = "CPUExecutionProvider"
_REGISTERED_ALREADY = "already registered"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A library, under the name that it is registered with."""

    name: str
    library: Path

    def __str__(self) -> str:
        """As it stands in the environment."""
        return f"{self.name}={self.library}"


def named_plugins() -> tuple[Plugin, ...]:
    """The plug-ins that the environment names; entries without a name or a path are logged and left out."""
    return tuple(_parse(os.environ.get(VARIABLE, "")))


def registered_plugins() -> tuple[Plugin, ...]:
    """Register every plug-in with ONNX Runtime, as far as that was not done, and return them.

    Imports ONNX Runtime and runs the libraries' code, which may print or crash. One that cannot be registered is
    logged and left out.
    """
    return tuple(plugin for plugin in named_plugins() if _register(plugin))


def providers() -> tuple[str, ...]:
    """The providers that the plug-ins, and those that the build brings along, offer on this machine's hardware.

    A build for CUDA finds CUDA's libraries in NVIDIA's packages beside it only if it is told to look for them.
    """
    runtime = importlib.import_module("onnxruntime")
    runtime.preload_dlls()
    registered_plugins()
    names = dict.fromkeys(device.ep_name for device in runtime.get_ep_devices())
    return tuple(name for name in names if name != _BUILT_IN)


def _parse(text: str) -> Iterator[Plugin]:
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, _, library = entry.partition("=")
        if name.strip() and Path(library.strip()).is_absolute():
            yield Plugin(name.strip(), Path(library.strip()))
        else:
            logger.warning("%s: %r is not name=/absolute/path; left out", VARIABLE, entry)


def _register(plugin: Plugin) -> bool:
    runtime = importlib.import_module("onnxruntime")
    try:
        runtime.register_execution_provider_library(plugin.name, str(plugin.library))
    except runtime_failures() as error:
        if _REGISTERED_ALREADY not in str(error):
            logger.warning("The provider library %s cannot be used: %s", plugin.library, error)
            return False
    return True
