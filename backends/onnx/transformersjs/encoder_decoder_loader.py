"""Loads an encoder-decoder (T5, BART, Marian) in Transformers.js' layout into a `TextModel`.

Above it: `loader`. Below it: the folder, its graphs, `encoder_decoder`.
"""

from backends.base import LoadSpec, ModelInfo, ProgressCallback
from backends.guards import require_memory
from backends.onnx.devices import choose_device
from backends.onnx.folder import read_json
from backends.onnx.model import TextModel
from backends.onnx.session import Placement, Session
from backends.onnx.transformersjs.dtypes import choose_dtype
from backends.onnx.transformersjs.encoder_decoder import EncoderDecoder, Sessions
from backends.onnx.transformersjs.encoder_decoder_graph import EncoderDecoderGraphs, read_graphs
from backends.onnx.transformersjs.folder import TransformersJsFolder
from backends.onnx.transformersjs.source_prompt import SourceReader
from backends.onnx.transformersjs.target_tokens import read_target_tokens
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from backends.onnx.vocabulary import Vocabulary
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions


def load_encoder_decoder(folder: TransformersJsFolder, spec: LoadSpec, progress: ProgressCallback) -> TextModel:
    """Load a model that reads a whole text and writes another. Raises as `load_transformersjs` does."""
    _refuse_options(spec.options)
    context = folder.context_for(spec.options.context_length)
    device = choose_device(spec.options.device, ())
    dtype = choose_dtype(spec.options.dtype, folder.dtypes, device)
    graphs = read_graphs(folder, dtype)
    size = folder.weights_bytes(dtype)
    require_memory(folder.path, folder.needed_bytes(dtype, context, graphs.token_bytes))
    progress("loading", None, f"Loading {size / 1e6:.0f} MB of {dtype} weights.")
    sessions = _open(graphs, Placement(), spec.options.threads)
    info = ModelInfo(
        backend_type=device.backend_type,
        context_length=context,
        size_bytes=size,
        device=device.name,
        capabilities=Capabilities(json_schema=True),
        dtype=dtype,
    )
    progress("tokenizer", 0.8, "Reading the tokenizer.")
    return _assemble(folder, graphs, sessions, info, context)


def _refuse_options(options: LoadOptions) -> None:
    """What is for decoder-only models alone."""
    wanted = [name for name in ("lora", "fast_path") if getattr(options, name)]
    if wanted:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"This model is an encoder-decoder, for which there is no {' and no '.join(wanted)}; leave it out.",
            fields=[f"options.{name}" for name in wanted],
        )


def _open(graphs: EncoderDecoderGraphs, placement: Placement, threads: int | None) -> Sessions:
    encoder = Session(graphs.encoder.file, placement, threads)
    first = Session(graphs.first.file, placement, threads)
    same = graphs.first.file == graphs.later.file
    return Sessions(encoder, first, first if same else Session(graphs.later.file, placement, threads))


def _assemble(
    folder: TransformersJsFolder, graphs: EncoderDecoderGraphs, sessions: Sessions, info: ModelInfo, context: int
) -> TextModel:
    file = folder.path / "tokenizer.json"
    description = read_json(file)
    target = read_target_tokens(folder.path, graphs.vocab_size)
    reader = SourceReader(folder.path, description, JsonTokenizer(file))
    vocabulary = Vocabulary(folder.path, description, graphs.vocab_size, folder.require_eos())
    cache = EncoderDecoder(graphs, sessions, target)
    cache.try_out(folder.eos_tokens[0])
    return TextModel(
        info=info,
        encoder=reader,
        vocabulary=vocabulary,
        cache=cache,
        eos_tokens=frozenset(folder.eos_tokens),
        context=context,
        release=sessions.close,
        answer_room=context - len(target.start) + 1,
    )
