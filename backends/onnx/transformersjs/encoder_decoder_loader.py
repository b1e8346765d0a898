"""Loads an encoder-decoder (T5, BART, Marian) in Transformers.js' layout into a `TextModel`.

Above it: `loader`. Below it: `placement`, which chooses the device; `encoder_decoder`, which runs the graphs.
"""

from dataclasses import dataclass

from backends.base import LoadSpec, ProgressCallback
from backends.huggingface.files import read_json
from backends.huggingface.vocabulary import Vocabulary
from backends.onnx.model import TextModel
from backends.onnx.placement import Choice, Plan, place, session_device
from backends.onnx.session import Session
from backends.onnx.transformersjs.encoder_decoder import EncoderDecoder, Sessions
from backends.onnx.transformersjs.encoder_decoder_graph import EncoderDecoderGraphs, read_graphs
from backends.onnx.transformersjs.folder import TransformersJsFolder
from backends.onnx.transformersjs.source_prompt import SourceReader
from backends.onnx.transformersjs.target_tokens import TargetTokens, read_target_tokens
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions


@dataclass(frozen=True, slots=True)
class _Running:
    """The started graphs."""

    sessions: Sessions
    cache: EncoderDecoder
    target: TargetTokens
    vocab_size: int

    def close(self) -> None:
        """Free them, the cache first."""
        self.cache.clear()
        self.sessions.close()


def load_encoder_decoder(folder: TransformersJsFolder, spec: LoadSpec, progress: ProgressCallback) -> TextModel:
    """Load a model that reads a whole text and writes another. Raises what `load_transformersjs` raises."""
    _refuse_options(spec.options)
    file = folder.path / "tokenizer.json"
    description = read_json(file)
    reader = SourceReader(folder.path, description, JsonTokenizer(file, ends=True))
    context = folder.context_for(spec.options.context_length)
    placed = place(spec, _plan(folder, context), progress)
    progress("tokenizer", 0.8, "Reading the tokenizer.")
    running = placed.model
    return TextModel(
        info=placed.info(context, Capabilities(json_schema=True, logprobs=True)),
        encoder=reader,
        vocabulary=Vocabulary(folder.path, description, running.vocab_size, folder.eos_tokens),
        cache=running.cache,
        eos_tokens=frozenset(folder.eos_tokens),
        context=context,
        release=running.sessions.close,
        answer_room=context - len(running.target.start) + 1,
    )


def _refuse_options(options: LoadOptions) -> None:
    """What is for decoder-only models alone."""
    wanted = [name for name in ("lora", "fast_path") if getattr(options, name)]
    if wanted:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"This model is an encoder-decoder, for which there is no {' and no '.join(wanted)}; leave it out.",
            fields=[f"options.{name}" for name in wanted],
        )


def _plan(folder: TransformersJsFolder, context: int) -> Plan[_Running]:
    end = folder.require_eos()[0]

    def needed_bytes(dtype: str | None) -> int:
        return folder.needed_bytes(str(dtype), context, read_graphs(folder, str(dtype)).token_bytes)

    def start(choice: Choice) -> _Running:
        running = _start(folder, choice)
        running.cache.try_out(end)
        return running

    return Plan(
        graphs=lambda dtype: folder.files(str(dtype)),
        weights_bytes=lambda dtype: folder.weights_bytes(str(dtype)),
        needed_bytes=needed_bytes,
        start=start,
        step=lambda running: running.cache.try_out(end),
        stop=_Running.close,
        device=lambda running: session_device(running.sessions.first),
        dtypes=folder.dtypes,
    )


def _start(folder: TransformersJsFolder, choice: Choice) -> _Running:
    graphs = read_graphs(folder, str(choice.dtype))
    target = read_target_tokens(folder.path, graphs.vocab_size)
    sessions = _open(graphs, choice)
    return _Running(sessions, EncoderDecoder(graphs, sessions, target), target, graphs.vocab_size)


def _open(graphs: EncoderDecoderGraphs, choice: Choice) -> Sessions:
    encoder, first = (Session(graph.file, choice.placement, choice.threads) for graph in (graphs.encoder, graphs.first))
    if graphs.later.file == graphs.first.file:
        return Sessions(encoder, first, first)
    return Sessions(encoder, first, Session(graphs.later.file, choice.placement, choice.threads))
