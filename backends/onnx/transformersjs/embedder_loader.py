"""Loads an embedding model's folder into an `Embedder`.

Above it: `loader`. Below it: the folder's own settings, its graph, and the session.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends.base import LoadSpec, ProgressCallback
from backends.huggingface.files import refuse
from backends.onnx.limits import attention_bytes
from backends.onnx.placement import Choice, Plan, place, session_device
from backends.onnx.session import Session
from backends.onnx.transformersjs.embedder import Embedder, TextEncoder
from backends.onnx.transformersjs.embedder_graph import EmbedderGraph, read_embedder_graph
from backends.onnx.transformersjs.folder import TransformersJsFolder
from backends.onnx.transformersjs.sentence import Pooling, SentenceSettings, read_sentence_settings, text_limit
from backends.onnx.transformersjs.text_tokens import TextReader
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions


def load_embedder(folder: TransformersJsFolder, spec: LoadSpec, progress: ProgressCallback) -> Embedder:
    """Load an embedding model.

    Raises EngineError, and HostError `model_invalid`, `invalid_request`, `unsupported_option`, `out_of_memory`.
    """
    _refuse_options(spec.options)
    settings = read_sentence_settings(folder.path)
    limit = text_limit(folder, spec.options.context_length)
    reader = TextReader(folder.path, folder.config.pad_token_id)
    placed = place(spec, _plan(folder, settings, reader, limit), progress)
    encoder = placed.model
    info = placed.info(encoder.limit, Capabilities(text=False, embed=True))
    notes = (*info.notes, *_notes(settings, encoder, spec.options.context_length))
    return Embedder(replace(info, notes=notes), encoder, reader, settings.normalize)


def _plan(
    folder: TransformersJsFolder, settings: SentenceSettings, reader: TextReader, limit: int
) -> Plan[TextEncoder]:
    files = folder.graphs[folder.decoder]
    token_bytes = attention_bytes(folder.config.num_attention_heads, limit)

    def start(choice: Choice) -> TextEncoder:
        graph = read_embedder_graph(files[str(choice.dtype)], folder.config)
        _refuse_modules(folder.path, settings, graph)
        session = Session(graph.file, choice.placement, choice.threads)
        encoder = TextEncoder(session, graph, reader, settings.pooling or Pooling.MEAN, limit)
        encoder.try_out()
        return encoder

    return Plan(
        graphs=lambda dtype: folder.files(str(dtype)),
        weights_bytes=lambda dtype: folder.weights_bytes(str(dtype)),
        needed_bytes=lambda dtype: folder.needed_bytes(str(dtype), limit, token_bytes),
        start=start,
        step=TextEncoder.try_out,
        stop=TextEncoder.close,
        device=lambda encoder: session_device(encoder.session),
        dtypes=folder.dtypes,
    )


def _refuse_options(options: LoadOptions) -> None:
    wanted = [name for name, value in (("lora", options.lora), ("fast_path", options.fast_path)) if value]
    if wanted:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"An embedding model cannot be loaded with {' and '.join(wanted)}; leave it out.",
            fields=[f"options.{name}" for name in wanted],
        )


def _refuse_modules(path: Path, settings: SentenceSettings, graph: EmbedderGraph) -> None:
    """A layer behind the pooling has weights of its own, which are in the graph or nowhere that we can read them."""
    if settings.other_modules and not graph.is_finished:
        names = ", ".join(settings.other_modules)
        refuse(
            path / "modules.json", f"wants {names} after the pooling, but the graph has no sentence_embedding output"
        )


def _notes(settings: SentenceSettings, encoder: TextEncoder, wanted: int | None) -> Iterator[str]:
    if settings.pooling is None and not encoder.is_finished:
        yield "The folder has no pooling config; a vector is the mean of its text's tokens."
    if wanted is not None and encoder.limit < wanted:
        yield f"The model reads {encoder.limit} tokens of a text; more was asked for."
