"""Loads a folder in Transformers.js' layout into a `TextModel` or an `EmbeddingModel`.

Above it: `backends.onnx.backend`. Below it: the folder, its graphs, and a runner for each kind of model.
"""

from backends.base import LoadSpec, ModelInfo, ProgressCallback
from backends.guards import require_memory
from backends.onnx.devices import choose_device
from backends.onnx.folder import read_json
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.kv_cache import KvCache
from backends.onnx.lora import read_adapter
from backends.onnx.model import EmbeddingModel, TextModel
from backends.onnx.prompt import PromptEncoder
from backends.onnx.session import Placement, Session
from backends.onnx.transformersjs.decoder import OrtGenerator
from backends.onnx.transformersjs.dtypes import choose_dtype
from backends.onnx.transformersjs.encoder_decoder_loader import load_encoder_decoder
from backends.onnx.transformersjs.folder import FolderKind, TransformersJsFolder, read_folder
from backends.onnx.transformersjs.graph import DecoderGraph, read_decoder_graph
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from backends.onnx.vocabulary import Vocabulary
from messages.facts import Capabilities


def load_transformersjs(
    library: GenaiLibrary, spec: LoadSpec, progress: ProgressCallback
) -> TextModel | EmbeddingModel:
    """Check the folder and the memory, then load it.

    Raises EngineError, and HostError `model_invalid`, `invalid_request`, `unsupported_option`, `out_of_memory`.
    """
    folder = read_folder(spec.path)
    if folder.kind is FolderKind.ENCODER_DECODER:
        return load_encoder_decoder(folder, spec, progress)
    return load_decoder(folder, spec, progress)


def load_decoder(folder: TransformersJsFolder, spec: LoadSpec, progress: ProgressCallback) -> TextModel:
    """Load a decoder-only model."""
    context = folder.context_for(spec.options.context_length)
    device = choose_device(spec.options.device, ())
    dtype = choose_dtype(spec.options.dtype, folder.dtypes, device)
    graph = read_decoder_graph(folder.graphs[folder.decoder][dtype], folder.config)
    adapter = read_adapter(spec.options.lora, graph.adapted)
    size = folder.weights_bytes(dtype)
    require_memory(folder.path, folder.needed_bytes(dtype, context, graph.token_bytes))
    progress("loading", None, f"Loading {size / 1e6:.0f} MB of {dtype} weights.")
    session = Session(graph.file, Placement(), spec.options.threads)
    if adapter is not None:
        session.activate(adapter)
    info = ModelInfo(
        backend_type=device.backend_type,
        context_length=context,
        size_bytes=size,
        device=device.name,
        capabilities=Capabilities(json_schema=True),
        dtype=dtype,
    )
    progress("tokenizer", 0.8, "Reading the tokenizer.")
    return _assemble(folder, graph, session, info, context)


def _assemble(
    folder: TransformersJsFolder, graph: DecoderGraph, session: Session, info: ModelInfo, context: int
) -> TextModel:
    file = folder.path / "tokenizer.json"
    description = read_json(file)
    cache = KvCache(lambda: OrtGenerator(session, graph, context), rewindable=True, undoes=True)
    cache.try_out(folder.require_eos()[0])
    return TextModel(
        info=info,
        encoder=PromptEncoder(folder.path, description, JsonTokenizer(file), folder.bos_token),
        vocabulary=Vocabulary(folder.path, description, graph.vocab_size, folder.eos_tokens),
        cache=cache,
        eos_tokens=frozenset(folder.eos_tokens),
        context=context,
        release=session.close,
    )
