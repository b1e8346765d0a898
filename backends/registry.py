"""The table of backends: one row each. A new backend is its module and its row.

Above it: the worker, `native_host.catalog` and `list_backends`. Engines are never imported here: rows name their code
as "module:attribute" strings that are loaded late.
"""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.formats import (
    ModelDescription,
    damage_of,
    is_gguf,
    is_gguf_projector,
    is_onnx_folder,
    is_safetensors_folder,
    never,
)
from backends.general_options import settle
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions

if TYPE_CHECKING:
    from backends.base import Backend

DISTRIBUTION = "tabagent-native-host"

NO_TELEMETRY = (("ORT_DISABLE_TELEMETRY", "1"),)
"""Keeps ONNX Runtime from making a device id and sending events to its maker (Privacy.md, "Disabling Telemetry")."""

NO_NETWORK = (
    ("HF_HUB_OFFLINE", "1"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("DO_NOT_TRACK", "1"),
    ("TOKENIZERS_PARALLELISM", "false"),
)
"""Keeps Hugging Face's libraries from looking anything up: what a folder lacks is missing, and not fetched."""

NO_DEBUGGER = (("GGML_NO_BACKTRACE", "1"),)
"""Keeps ggml from starting gdb on itself when it gives up (ggml.c, `ggml_print_backtrace`): that takes a second, and
writes what is in memory into the log."""

_IMPORT_ERRORS = (ImportError, OSError, AttributeError, RuntimeError, ValueError)
"""What importing an engine raises where its parts do not fit: numpy's ABI is a ValueError or a RuntimeError."""


_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
"""Operating systems by their names in `sys.platform`."""


@dataclass(frozen=True, slots=True)
class EngineProbe:
    """What an engine tells once it is imported: its version, and the devices it can really use."""

    version: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One backend. `target` is its class, `describe` reads a model without the engine, `probe` asks the engine.

    load_options are the names of the `LoadOptions` that it honours; the others are refused.
    is_part is true for a file that belongs to a model beside it, which is not listed.
    modules are the engine's import names, distribution the package whose version counts, extra the one of ours
    that installs it, environment what must be set before the engine is imported, platforms where it runs, as
    `sys.platform` has them. Where two rows take a path, one that runs here wins, then the higher priority.
    """

    name: str
    target: str
    detects: Callable[[Path], bool]
    formats: tuple[str, ...]
    load_options: frozenset[str]
    capabilities: Capabilities
    is_part: Callable[[Path], bool] = never
    priority: int = 0
    describe: str | None = None
    probe: str | None = None
    modules: tuple[str, ...] = ()
    distribution: str | None = None
    extra: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    platforms: tuple[str, ...] = tuple(_SYSTEMS)

    @property
    def runs_here(self) -> bool:
        """True if it is made for this operating system."""
        return sys.platform in self.platforms

    @property
    def installed(self) -> bool:
        """True if the engine's modules can be found (which is not yet to say that they import)."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)

    @property
    def missing(self) -> str | None:
        """Why the engine is not there, and what to do, in words; None if it is."""
        if not self.runs_here:
            systems = " and ".join(_SYSTEMS[platform] for platform in self.platforms)
            return f"The {self.name} engine runs on {systems} alone; choose a model of another format."
        if not self.installed:
            return f"The {self.name} engine is not installed. Install it with: {self.install_command}"
        return None

    @property
    def version(self) -> str | None:
        """The installed engine's version (ours, for a backend without an engine), or None."""
        try:
            return importlib.metadata.version(self.distribution or DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            return None

    @property
    def install_command(self) -> str | None:
        """The command that installs the engine into this Python, or None if there is nothing to install here."""
        if self.extra is None or not self.runs_here:
            return None
        return " ".join([sys.executable, "-m pip install", *(f'"{package}"' for package in _requirements(self.extra))])

    def create(self) -> "Backend":
        """Import the engine and make a backend; HostError `engine_missing` or `engine_broken` if that fails."""
        self.require_installed()
        os.environ.update(self.environment)
        try:
            backend: Backend = _load(self.target)()
        except _IMPORT_ERRORS as error:
            raise HostError(
                ErrorCode.ENGINE_BROKEN,
                f"The {self.name} engine is installed but does not start: {error}. Install it again.",
                backend=self.name,
                install=self.install_command,
            ) from error
        return backend

    def require_installed(self) -> None:
        """Raise HostError `engine_missing` if the engine is not installed, or not for this operating system."""
        if self.missing is not None:
            command = {"install": self.install_command} if self.install_command else {}
            raise HostError(ErrorCode.ENGINE_MISSING, self.missing, backend=self.name, **command)

    def known_options(self, options: LoadOptions, general: Collection[str] = frozenset()) -> LoadOptions:
        """The options without those of `general` that it does not have; any other such is `unsupported_option`."""
        known = self.load_options | {"keep_alive_s"}
        kept = options.without(set(general) - known)
        unknown = sorted(kept.wanted() - known)
        if unknown:
            raise HostError(
                ErrorCode.UNSUPPORTED_OPTION,
                f"The {self.name} backend cannot do {', '.join(unknown)}; leave it out.",
                fields=[f"options.{name}" for name in unknown],
            )
        return kept

    def read_description(
        self, path: Path, options: LoadOptions, general: Collection[str] = frozenset()
    ) -> ModelDescription:
        """Read a model's own header, as loaded with options, those of `general` as far as it can do them.

        Raises HostError `model_invalid` if it is corrupt, and what a load with these options would raise.
        """
        known = self.known_options(options, general)
        if self.describe is None:
            return ModelDescription(format=self.formats[0], size_bytes=0, needed_bytes=None)
        describe: Callable[[Path, LoadOptions], ModelDescription] = _load(self.describe)
        return settle(lambda taken: describe(path, taken), known, general).result

    def read_probe(self) -> EngineProbe:
        """Import the engine and ask it; whatever it raises is the caller's, in a process of its own."""
        if self.probe is None:
            return EngineProbe(version=self.version or "", devices=("cpu",))
        os.environ.update(self.environment)
        probe: EngineProbe = _load(self.probe)()
        return probe


BACKENDS: tuple[BackendRow, ...] = (
    BackendRow(
        name="llamacpp",
        target="backends.llamacpp.backend:LlamaCppBackend",
        detects=is_gguf,
        is_part=is_gguf_projector,
        describe="backends.llamacpp.describe:describe",
        probe="backends.llamacpp.probe:probe",
        formats=("GGUF",),
        load_options=frozenset(
            {"context_length", "gpu_layers", "threads", "device", "parallel", "projector_path", "lora"}
        ),
        modules=("llama_cpp", "jinja2", "PIL"),
        distribution="llama_cpp_python",
        extra="llamacpp",
        environment=NO_DEBUGGER,
        capabilities=Capabilities(json_schema=True, tools=True, logprobs=True, image=True, audio=True),
        priority=10,
    ),
    BackendRow(
        name="onnx",
        target="backends.onnx.backend:OnnxBackend",
        detects=is_onnx_folder,
        describe="backends.onnx.describe:describe",
        probe="backends.onnx.probe:probe",
        formats=("ONNX Runtime GenAI folder", "Transformers.js folder"),
        load_options=frozenset({"context_length", "threads", "device", "parallel", "dtype", "fast_path", "lora"}),
        modules=("onnxruntime_genai", "onnxruntime", "tokenizers", "llguidance", "numpy", "jinja2"),
        distribution="onnxruntime-genai",
        extra="onnx",
        environment=NO_TELEMETRY,
        capabilities=Capabilities(json_schema=True, tools=True, embed=True, logprobs=True),
        priority=10,
    ),
    BackendRow(
        name="mlx_vlm",
        target="backends.mlx_vlm.backend:MlxVlmBackend",
        detects=is_safetensors_folder,
        describe="backends.mlx_vlm.describe:describe",
        probe="backends.mlx_vlm.probe:probe",
        formats=("MLX folder",),
        load_options=frozenset({"context_length", "device", "parallel"}),
        modules=("mlx", "mlx_vlm", "transformers", "llguidance", "numpy", "jinja2", "PIL"),
        distribution="mlx-vlm",
        extra="mlx",
        environment=NO_NETWORK,
        capabilities=Capabilities(image=True, json_schema=True, tools=True, logprobs=True),
        platforms=("darwin", "linux"),
    ),
    BackendRow(
        name="echo",
        target="backends.echo:EchoBackend",
        detects=never,
        formats=("none",),
        load_options=frozenset({"tokens_per_second", "prefill_ms", "context_length", "device", "pictures", "fault"}),
        capabilities=Capabilities(),
    ),
)


def row(name: str) -> BackendRow:
    """The row of a backend; HostError `invalid_request` if there is no such backend."""
    for candidate in BACKENDS:
        if candidate.name == name:
            return candidate
    known = ", ".join(["auto", *(candidate.name for candidate in BACKENDS)])
    raise HostError(
        ErrorCode.INVALID_REQUEST,
        f"There is no backend {name!r}; use one of {known}.",
        fields=[f"backend: must be one of {known}"],
    )


def detect(path: Path) -> BackendRow:
    """The backend that takes a path, by its content.

    HostError `unknown_format` if none does, `model_invalid` if it is a model all the same.
    """
    rows = [candidate for candidate in BACKENDS if candidate.detects(path)]
    if not rows and (damage := damage_of(path)) is not None:
        raise HostError(ErrorCode.MODEL_INVALID, f"{path} {damage}", model_path=str(path))
    if not rows:
        kind = "folder" if path.is_dir() else "file"
        raise HostError(
            ErrorCode.UNKNOWN_FORMAT,
            f"No backend knows what is in this {kind}: {path}. Known formats: "
            + ", ".join(name for candidate in BACKENDS for name in candidate.formats if name != "none")
            + ".",
            model_path=str(path),
        )
    return max(rows, key=lambda candidate: (candidate.runs_here, candidate.priority))


def _requirements(extra: str) -> list[str]:
    """The packages of one of our extras, as pip takes them, from our own metadata (core metadata, Requires-Dist).

    What else a requirement depends on, its system say, stays with it: pip knows that better.
    """
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    wanted = f"extra == '{extra}'"
    plain = [line.replace('"', "'") for line in lines]
    packages = [line.replace(f" and {wanted}", "").replace(wanted, "").strip(" ;") for line in plain if wanted in line]
    return packages or [f"{DISTRIBUTION}[{extra}]"]


def _load(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
