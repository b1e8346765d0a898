"""Loads a genai folder into a `TextModel`.

Above it: `backends.onnx.backend`. Below it: the folder's config and the engine.
"""

from collections.abc import Callable
from functools import partial

from backends.base import LoadSpec, ModelInfo, ProgressCallback
from backends.guards import require_memory
from backends.onnx.devices import Device, choose_device, reported_device
from backends.onnx.folder import read_json
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.config import GenaiFolder, read_folder
from backends.onnx.genai.engine import Generator, Model, Tokenizer
from backends.onnx.kv_cache import KvCache
from backends.onnx.lora import read_adapter
from backends.onnx.model import TextModel
from backends.onnx.prompt import PromptEncoder
from backends.onnx.vocabulary import Vocabulary
from messages.facts import Capabilities


def load_genai(library: GenaiLibrary, spec: LoadSpec, progress: ProgressCallback) -> TextModel:
    """Check the folder and the memory, then load it.

    Raises EngineError, and HostError `model_invalid`, `invalid_request`, `unsupported_option`, `out_of_memory`.
    """
    folder = read_folder(spec.path)
    context = folder.context_for(spec.options.context_length)
    device = choose_device(spec.options.device, folder.providers)
    adapter = read_adapter(spec.options.lora, folder.adapted)
    require_memory(folder.path, folder.needed_bytes(context))
    progress("loading", None, f"Loading {folder.weights_bytes / 1e6:.0f} MB of weights.")
    model = Model(library, folder.path, device.provider, spec.options.threads)
    if adapter is not None:
        model.activate(adapter)
    progress("tokenizer", 0.8, "Reading the tokenizer.")
    return _assemble(folder, context, model)


def _assemble(folder: GenaiFolder, context: int, model: Model) -> TextModel:
    tokenizer = Tokenizer(model)
    description = read_json(folder.path / "tokenizer.json")
    cache = KvCache(
        lambda: Generator(model, max_length=context, vocab_size=folder.vocab_size),
        rewindable=folder.rewindable,
        undoes=folder.share_buffer,
    )
    cache.try_out(folder.eos_tokens[0])
    return TextModel(
        info=_info(folder, context, reported_device(model.device)),
        encoder=PromptEncoder(folder.path, description, tokenizer, folder.bos_token),
        vocabulary=Vocabulary(folder.path, description, folder.vocab_size, folder.eos_tokens),
        cache=cache,
        eos_tokens=frozenset(folder.eos_tokens),
        context=context,
        release=partial(_release, tokenizer.close, model.close),
    )


def _info(folder: GenaiFolder, context: int, used: Device) -> ModelInfo:
    return ModelInfo(
        backend_type=used.backend_type,
        context_length=context,
        size_bytes=folder.weights_bytes,
        device=used.name,
        capabilities=Capabilities(json_schema=True),
    )


def _release(*owners: Callable[[], None]) -> None:
    for close in owners:
        close()
