"""What a model's folder says of itself, for `list_models` and before a load. The engine is not imported."""

from pathlib import Path

from backends.formats import ModelDescription, is_genai_folder
from backends.onnx.devices import DEVICES
from backends.onnx.genai import config as genai
from backends.onnx.limits import attention_bytes
from backends.onnx.transformersjs import folder as transformersjs
from backends.onnx.transformersjs.dtypes import choose_dtype
from backends.onnx.transformersjs.encoder_decoder_graph import read_graphs
from backends.onnx.transformersjs.graph import read_decoder_graph
from backends.onnx.transformersjs.sentence import text_limit
from messages.options import LoadOptions

GENAI_FORMAT = "ONNX Runtime GenAI folder"
TRANSFORMERSJS_FORMAT = "Transformers.js folder"


def describe(path: Path, options: LoadOptions) -> ModelDescription:
    """Describe the model in a folder; needed_bytes holds for `options`, context_length is the trained one, in tokens.

    Raises HostError `model_invalid`, `invalid_request` for a context that the model does not have, or
    `unsupported_option` for weights that the folder does not have.
    """
    if has_transformersjs_layout(path):
        return _describe_transformersjs(path, options)
    folder = genai.read_folder(path)
    context = folder.context_for(options.context_length)
    return ModelDescription(
        format=GENAI_FORMAT,
        size_bytes=folder.weights_bytes,
        needed_bytes=folder.needed_bytes(context),
        context_length=folder.context_length,
    )


def has_transformersjs_layout(path: Path) -> bool:
    """True for a folder of Transformers.js, its graphs missing or not; where both configs are, genai's wins."""
    return (path / "config.json").is_file() and not is_genai_folder(path)


def _describe_transformersjs(path: Path, options: LoadOptions) -> ModelDescription:
    folder = transformersjs.read_folder(path)
    context = folder.context_for(options.context_length)
    dtype = choose_dtype(options.dtype, folder.dtypes, DEVICES[0])
    token_bytes = 0
    if folder.kind is transformersjs.FolderKind.DECODER:
        token_bytes = read_decoder_graph(folder.graphs[folder.decoder][dtype], folder.config).token_bytes
    elif folder.kind is transformersjs.FolderKind.ENCODER_DECODER:
        token_bytes = read_graphs(folder, dtype).token_bytes
    elif folder.kind is transformersjs.FolderKind.EMBEDDER:
        context = text_limit(folder, options.context_length)
        token_bytes = attention_bytes(folder.config.num_attention_heads, context)
    return ModelDescription(
        format=TRANSFORMERSJS_FORMAT,
        size_bytes=folder.weights_bytes(dtype),
        needed_bytes=folder.needed_bytes(dtype, context, token_bytes),
        context_length=folder.config.context_length,
    )
