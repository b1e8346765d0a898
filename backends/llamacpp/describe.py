"""What a GGUF file says of itself, without the engine."""

from pathlib import Path

from backends.formats import ModelDescription
from backends.llamacpp.memory import choose_context, needed_bytes, read_shape, require_trained_context
from backends.llamacpp.parts import read_model_header
from backends.llamacpp.projector import choose_projector
from messages.options import LoadOptions


def describe(path: Path, options: LoadOptions) -> ModelDescription:
    """Describe the model at `path`; needed_bytes holds for `options`, context_length is the trained one, in tokens.

    Raises HostError `model_not_found`, `model_invalid`, and `invalid_request` for a context that it does not have.
    """
    header = read_model_header(path)
    shape = read_shape(header)
    context = choose_context(shape, options)
    require_trained_context(shape, context)
    projector, _ = choose_projector(options.projector_path, header)
    return ModelDescription(
        format="GGUF",
        size_bytes=header.file_bytes,
        needed_bytes=needed_bytes(header, shape, context, projector),
        context_length=shape.trained_context,
    )
