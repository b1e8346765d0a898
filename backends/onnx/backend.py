"""The onnx backend: chat and text generation with onnxruntime-genai.

Above it: `backends.worker`. Below it: the folder's config, the engine, the KV cache, sampling and constraints, each in
its module. One engine thread calls it; only a cancel comes from another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from backends.base import (
    BackendState,
    CancelToken,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    LoadSpec,
    ModelInfo,
    ProgressCallback,
    refuse_unsupported_settings,
)
from backends.guards import require_memory, require_room, require_single
from backends.onnx.capi import EngineError, GenaiLibrary
from backends.onnx.config import GenaiFolder, read_folder, read_json
from backends.onnx.decoding import Decoding
from backends.onnx.devices import Device, choose_device, reported_device
from backends.onnx.engine import Generator, Model, Tokenizer
from backends.onnx.guidance import Constraint, make_constraint
from backends.onnx.kv_cache import KvCache
from backends.onnx.prompt import PromptEncoder
from backends.onnx.sampler import Sampler
from backends.onnx.vocabulary import TokenText, Vocabulary
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities
from messages.options import LoadOptions
from messages.settings import InferenceSettings

_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Everything that a loaded model consists of."""

    folder: GenaiFolder
    context: int
    model: Model
    tokenizer: Tokenizer
    encoder: PromptEncoder
    vocabulary: Vocabulary
    cache: KvCache

    def close(self) -> None:
        """Free it, the parts before the model."""
        self.cache.clear()
        self.tokenizer.close()
        self.model.close()


class OnnxBackend:
    """One model in onnxruntime-genai."""

    load_options: ClassVar[frozenset[str]] = frozenset({"context_length", "threads", "device", "parallel"})
    unsupported_settings: ClassVar[frozenset[str]] = frozenset()
    response_formats: ClassVar[frozenset[str]] = frozenset({"json_object", "json_schema", "regex"})

    def __init__(self) -> None:
        self._library = GenaiLibrary()
        self._loaded: _Loaded | None = None
        self._settings = InferenceSettings()

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Check the folder and the memory, then load it."""
        require_single(spec.options, "onnx")
        progress("reading", 0.0, "Reading the model's folder.")
        folder = read_folder(spec.path)
        context = folder.context_for(spec.options.context_length)
        device = choose_device(spec.options.device, folder.providers)
        require_memory(folder.path, folder.needed_bytes(context))
        progress("loading", None, f"Loading {folder.weights_bytes / 1e6:.0f} MB of weights.")
        try:
            self._loaded = self._load(folder, context, device, spec.options, progress)
            self._loaded.cache.try_out(folder.eos_tokens[0])
            used = reported_device(self._loaded.model.device)
        except EngineError as error:
            raise _load_failure(folder, error) from error
        progress("ready", 1.0, f"Ready on {used.name}.")
        return ModelInfo(
            backend_type=used.backend_type,
            context_length=context,
            size_bytes=folder.weights_bytes,
            device=used.name,
            capabilities=Capabilities(json_schema=True),
        )

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Read the prompt, then decode token by token; the KV cache is kept for the next turn."""
        loaded = self._require()
        self._settings = request.settings
        constraint = make_constraint(request.response_format, loaded.vocabulary)
        prompt = loaded.encoder.encode(request.prompt)
        require_room(len(prompt.tokens), loaded.context)
        decoding = _decoding(loaded, request.settings, prompt.tokens, constraint)
        loaded.encoder.transcript.forget()
        cached = 0
        try:
            for event in loaded.cache.prefill(prompt.tokens, cancel):
                cached = event.cached
                yield event
            yield from decoding.run(cancel)
        except EngineError as error:
            loaded.cache.clear()
            raise _generation_failure(error) from error
        if prompt.text is not None and decoding.text_is_whole:
            text = prompt.text + "".join(decoding.texts)
            loaded.encoder.transcript.remember(text, prompt.tokens + decoding.tokens)
        yield GenerationEnd(decoding.finish_reason, len(prompt.tokens), len(decoding.tokens), cached)

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the tokens of a prompt after its chat template."""
        return len(self._require().encoder.encode(prompt).tokens)

    def get_state(self) -> BackendState:
        """Tokens in the KV cache, and the last settings."""
        tokens = len(self._loaded.cache) if self._loaded else 0
        return BackendState(kv_tokens=tokens, settings=self._settings)

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Every setting can be honoured; return them."""
        return refuse_unsupported_settings(settings, self.unsupported_settings, "onnx")

    def close(self) -> None:
        """Free the model."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def _load(
        self, folder: GenaiFolder, context: int, device: Device, options: LoadOptions, progress: ProgressCallback
    ) -> _Loaded:
        model = Model(self._library, folder.path, device.provider, options.threads)
        progress("tokenizer", 0.8, "Reading the tokenizer.")
        tokenizer = Tokenizer(model)
        description = read_json(folder.path / "tokenizer.json")
        return _Loaded(
            folder=folder,
            context=context,
            model=model,
            tokenizer=tokenizer,
            encoder=PromptEncoder(folder, description, tokenizer),
            vocabulary=Vocabulary(folder.path, description, folder.vocab_size, folder.eos_tokens),
            cache=KvCache(
                lambda: Generator(model, max_length=context, vocab_size=folder.vocab_size),
                rewindable=folder.rewindable,
                share_buffer=folder.share_buffer,
            ),
        )

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, "No model is loaded; load one first.")
        return self._loaded


def _decoding(
    loaded: _Loaded, settings: InferenceSettings, prompt: list[int], constraint: Constraint | None
) -> Decoding:
    return Decoding(
        cache=loaded.cache,
        sampler=Sampler(settings, prompt),
        text=TokenText(loaded.vocabulary, settings.stop),
        constraint=constraint,
        eos_tokens=frozenset(loaded.folder.eos_tokens),
        limit=min(settings.max_tokens, loaded.context - len(prompt)),
    )


def _load_failure(folder: GenaiFolder, error: EngineError) -> HostError:
    if _is_memory_failure(error):
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory while loading: {error}")
    text = f"ONNX Runtime GenAI cannot load {folder.path}: {error}"
    return HostError(ErrorCode.MODEL_INVALID, text, model_path=str(folder.path))


def _generation_failure(error: EngineError) -> HostError:
    if _is_memory_failure(error):
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory: {error}")
    return HostError(ErrorCode.INTERNAL, f"The engine failed: {error}")


def _is_memory_failure(error: EngineError) -> bool:
    return any(words in str(error) for words in _OUT_OF_MEMORY)
