"""What a user may set of how models are loaded: for all of them, and for single ones.

Above it: `native_host.config` and `native_host.load_defaults`. Below it: `messages.options`.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from messages.options import ContextLength, DeviceName, Dtype, GpuLayers, LoadOptions, Threads
from native_host.config_sections import FOREVER_S, Seconds, Section, absolute

AbsoluteFile = Annotated[Path, AfterValidator(absolute)]


class LoadSection(Section):
    """The options that make sense for all models and for single ones."""

    model_config = ConfigDict(defer_build=True)

    context_length: ContextLength | None = Field(
        default=None,
        examples=[16384],
        description="Tokens of context, at most as many as a model was trained on. Left out: 4096, mlx_vlm 16384.",
    )
    gpu_layers: GpuLayers | None = Field(
        default=None, examples=[-1], description="Layers on the GPU, where llama.cpp has one; -1: all."
    )
    threads: Threads | None = Field(
        default=None, examples=[4], description="Threads of the engine. Left out: what is fastest."
    )
    device: DeviceName | None = Field(
        default=None, examples=["auto"], description="A device as list_backends names it, cpu, or auto: the best."
    )
    dtype: Dtype | None = Field(
        default=None, examples=["auto"], description="Which weights of a Transformers.js folder: auto, q4, fp16, ..."
    )
    fast_path: bool | None = Field(
        default=None, examples=[True], description="Whether such a folder may run in ONNX Runtime GenAI."
    )

    def options(self) -> LoadOptions:
        """The options that are set here."""
        values = {name: getattr(self, name) for name in LoadOptions.model_fields if hasattr(self, name)}
        return LoadOptions.model_validate({name: _on_the_wire(value) for name, value in values.items()})


def _on_the_wire(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return min(value, FOREVER_S) if isinstance(value, float) else value


class ModelLoadConfig(LoadSection):
    """The options of one model's load."""

    model_config = ConfigDict(defer_build=True)

    keep_alive_s: Seconds | None = Field(
        default=None, examples=[3600], description="As in [models], for this model alone."
    )
    projector_path: AbsoluteFile | None = Field(
        default=None, examples=["~/models/mmproj.gguf"], description="Its projector. Left out: one beside it."
    )
    lora: AbsoluteFile | None = Field(
        default=None, examples=["~/models/adapter.gguf"], description="An adapter that it is loaded with."
    )


class LoadConfig(LoadSection):
    """The options of a load for which the client sets nothing, as far as the backend and the model can do them."""

    models: dict[str, ModelLoadConfig] = Field(
        default={},
        description="Those of one model, by the name that list_models shows or by its path. They win over those above, "
        "and one that its backend cannot do is an error.",
    )
