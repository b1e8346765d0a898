"""What a folder for MLX says of itself, for `list_models` and before a load. The engine is not imported."""

from pathlib import Path

from backends.formats import ModelDescription
from backends.mlx_vlm.checkpoint import read_checkpoint
from messages.options import LoadOptions

FORMAT = "MLX folder"


def describe(path: Path, options: LoadOptions) -> ModelDescription:
    """Describe the model in a folder; needed_bytes holds for `options`, context_length is the trained one, in tokens.

    Raises HostError `model_invalid`, or `invalid_request` for a context that the model does not have.
    """
    checkpoint = read_checkpoint(path)
    return ModelDescription(
        format=FORMAT,
        size_bytes=checkpoint.weights_bytes,
        needed_bytes=checkpoint.needed_bytes(checkpoint.context_for(options.context_length)),
        context_length=checkpoint.trained_context,
    )
