"""Loads a genai folder into a `TextModel`.

Above it: `backends.onnx.backend`. Below it: the folder's config and the engine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends.base import LoadSpec, ModelInfo, ProgressCallback
from backends.huggingface.files import read_json
from backends.huggingface.vocabulary import Vocabulary, with_template
from backends.onnx.devices import device_of_genai
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.config import GenaiFolder, read_folder
from backends.onnx.genai.engine import Generator, Model, Tokenizer
from backends.onnx.kv_cache import KvCache
from backends.onnx.lora import read_adapter
from backends.onnx.model import TextModel
from backends.onnx.placement import Choice, Plan, place
from backends.onnx.plugins import registered_plugins
from backends.onnx.prompt import PromptEncoder
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions


def load_genai(library: GenaiLibrary, spec: LoadSpec, progress: ProgressCallback) -> TextModel:
    """Check the folder and the memory, then load it.

    Raises EngineError, and HostError `model_invalid`, `invalid_request`, `unsupported_option`, `out_of_memory`.
    """
    folder = read_folder(spec.path)
    _refuse_dtype(spec.options)
    context = folder.context_for(spec.options.context_length)
    adapter = read_adapter(spec.options.lora, folder.adapted)

    def start(choice: Choice) -> _Running:
        return _start(library, folder, context, adapter, choice)

    plan = Plan(
        graphs=lambda dtype: folder.graphs,
        weights_bytes=lambda dtype: folder.weights_bytes,
        needed_bytes=lambda dtype: folder.needed_bytes(context),
        start=start,
        step=lambda running: running.cache.try_out(folder.eos_tokens[0]),
        stop=_Running.close,
        device=lambda running: device_of_genai(running.model.device),
        providers=folder.providers,
        usable=lambda device: device.genai is not None,
        engine=f"onnxruntime-genai {library.version}",
    )
    placed = place(spec, plan, progress)
    progress("tokenizer", 0.8, "Reading the tokenizer.")
    return _assemble(folder, placed.model, placed.info(context, Capabilities(json_schema=True, logprobs=True)), context)


def _refuse_dtype(options: LoadOptions) -> None:
    if options.dtype not in (None, "auto"):
        text = "A genai folder has one kind of weights; leave dtype out, or load a Transformers.js folder."
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["options.dtype"])


@dataclass(frozen=True, slots=True)
class _Running:
    """A loaded model and its KV cache."""

    model: Model
    cache: KvCache

    def close(self) -> None:
        """Free both, the cache first."""
        self.cache.clear()
        self.model.close()


def _start(library: GenaiLibrary, folder: GenaiFolder, context: int, adapter: Path | None, choice: Choice) -> _Running:
    for plugin in registered_plugins() if choice.device.plugin else ():
        library.register(plugin.name, plugin.library)
    provider = None if choice.as_folder_says else choice.device.genai
    model = Model(library, folder.path, provider, choice.threads)
    if adapter is not None:
        model.activate(adapter)
    cache = KvCache(
        lambda: Generator(model, max_length=context, vocab_size=folder.vocab_size),
        rewindable=folder.rewindable,
        undoes=folder.share_buffer,
    )
    cache.try_out(folder.eos_tokens[0])
    return _Running(model, cache)


def _assemble(folder: GenaiFolder, running: _Running, info: ModelInfo, context: int) -> TextModel:
    tokenizer = Tokenizer(running.model)
    description = read_json(folder.path / "tokenizer.json")
    encoder = PromptEncoder(folder.path, description, tokenizer, folder.bos_token)
    vocabulary = Vocabulary(folder.path, description, folder.vocab_size, folder.eos_tokens)
    return TextModel(
        info=with_template(info, encoder.template, vocabulary),
        encoder=encoder,
        vocabulary=vocabulary,
        cache=running.cache,
        eos_tokens=frozenset(folder.eos_tokens),
        context=context,
        release=partial(_release, tokenizer.close, running.model.close),
    )


def _release(*owners: Callable[[], None]) -> None:
    for close in owners:
        close()
