"""What a genai folder says of itself, for `list_models` and before a load. The engine is not imported."""

from pathlib import Path

from backends.base import ModelDescription
from backends.onnx.config import read_folder
from messages.options import LoadOptions

FORMAT = "ONNX Runtime GenAI folder"


def describe(path: Path, options: LoadOptions) -> ModelDescription:
    """Describe the model in a folder; needed_bytes holds for `options`, context_length is the trained one, in tokens.

    Raises HostError `model_invalid`, or `invalid_request` for a context that the model does not have.
    """
    folder = read_folder(path)
    context = folder.context_for(options.context_length)
    return ModelDescription(
        format=FORMAT,
        size_bytes=folder.weights_bytes,
        needed_bytes=folder.needed_bytes(context),
        context_length=folder.context_length,
    )
