"""Loads a folder in Transformers.js' layout into a `TextModel` or an `EmbeddingModel`.

Above it: `backends.onnx.backend`. Below it: the folder, and a loader for each kind of model.
"""

from backends.base import LoadSpec, ProgressCallback
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.model import EmbeddingModel, TextModel
from backends.onnx.transformersjs.decoder_loader import load_decoder
from backends.onnx.transformersjs.embedder_loader import load_embedder
from backends.onnx.transformersjs.encoder_decoder_loader import load_encoder_decoder
from backends.onnx.transformersjs.folder import FolderKind, read_folder


def load_transformersjs(
    library: GenaiLibrary, spec: LoadSpec, progress: ProgressCallback
) -> TextModel | EmbeddingModel:
    """Check the folder and the memory, then load it.

    Raises EngineError, and HostError `model_invalid`, `invalid_request`, `unsupported_option`, `out_of_memory`.
    """
    folder = read_folder(spec.path)
    if folder.kind is FolderKind.EMBEDDER:
        return load_embedder(folder, spec, progress)
    if folder.kind is FolderKind.ENCODER_DECODER:
        return load_encoder_decoder(folder, spec, progress)
    return load_decoder(library, folder, spec, progress)
