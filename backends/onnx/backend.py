"""The onnx backend: text generation and embeddings with ONNX Runtime.

Above it: `backends.worker`. Below it: a loader for each of the two layouts (`genai`, `transformersjs`), and what they
share: the KV cache, sampling, constraints, text. One engine thread calls it; only a cancel comes from another.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from backends.base import (
    BackendState,
    CancelToken,
    Embeddings,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    LoadSpec,
    ModelInfo,
    ProgressCallback,
    refuse_unsupported_settings,
)
from backends.guards import require_prompt, require_single
from backends.huggingface.guidance import Constraint, make_constraint
from backends.huggingface.vocabulary import TokenText
from backends.logprobs import LogprobRecorder
from backends.onnx.decoding import Decoding
from backends.onnx.describe import has_transformersjs_layout
from backends.onnx.genai.capi import GenaiLibrary
from backends.onnx.genai.loader import load_genai
from backends.onnx.interface import EngineError
from backends.onnx.model import EmbeddingModel, TextModel
from backends.onnx.sampler import Sampler
from backends.onnx.transformersjs.loader import load_transformersjs
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.settings import InferenceSettings

_OUT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory", "out of memory")


class OnnxBackend:
    """One model in ONNX Runtime."""

    unsupported_settings: ClassVar[frozenset[str]] = frozenset()
    response_formats: ClassVar[frozenset[str]] = frozenset({"json_object", "json_schema", "regex"})

    def __init__(self) -> None:
        self._library = GenaiLibrary()
        self._loaded: TextModel | EmbeddingModel | None = None
        self._settings = InferenceSettings()

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Check the folder and the memory, then load it."""
        require_single(spec.options, "onnx")
        progress("reading", 0.0, "Reading the model's folder.")
        try:
            load = load_transformersjs if has_transformersjs_layout(spec.path) else load_genai
            self._loaded = load(self._library, spec, progress)
        except EngineError as error:
            raise _load_failure(spec, error) from error
        progress("ready", 1.0, " ".join([f"Ready on {self._loaded.info.device}.", *self._loaded.info.notes]))
        return self._loaded.info

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Read the prompt, then decode token by token; the KV cache is kept for the next turn."""
        loaded = self._require_text()
        self._settings = request.settings
        constraint = make_constraint(request, loaded.vocabulary)
        prompt = loaded.encoder.encode(request.prompt)
        require_prompt(request.prompt, prompt.tokens)
        decoding = _decoding(loaded, request, prompt.tokens, constraint)
        loaded.encoder.forget()
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
            loaded.encoder.remember(text, prompt.tokens + decoding.tokens)
        yield GenerationEnd(decoding.finish_reason, len(prompt.tokens), len(decoding.tokens), cached)

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the tokens of a prompt after its chat template."""
        loaded = self._require()
        if isinstance(loaded, TextModel):
            return len(loaded.encoder.encode(prompt).tokens)
        return loaded.count_tokens(prompt)

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """One vector a text; HostError `unsupported_option` for a model that generates text."""
        loaded = self._require()
        if isinstance(loaded, TextModel):
            text = "This model generates text and makes no embeddings; load a sentence-embedding model."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["model"])
        try:
            return loaded.embed(texts, normalize)
        except EngineError as error:
            raise _generation_failure(error) from error

    def get_state(self) -> BackendState:
        """Tokens in the KV cache, and the last settings."""
        tokens = len(self._loaded.cache) if isinstance(self._loaded, TextModel) else 0
        return BackendState(kv_tokens=tokens, settings=self._settings)

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Every setting can be honoured; return them."""
        return refuse_unsupported_settings(settings, self.unsupported_settings, "onnx")

    def close(self) -> None:
        """Free the model."""
        if self._loaded is not None:
            self._loaded.close()
            self._loaded = None

    def _require(self) -> TextModel | EmbeddingModel:
        if self._loaded is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, "No model is loaded; load one first.")
        return self._loaded

    def _require_text(self) -> TextModel:
        loaded = self._require()
        if isinstance(loaded, TextModel):
            return loaded
        text = "This model makes embeddings and generates no text; send embed, or load a model that generates."
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["model"])


def _decoding(
    loaded: TextModel, request: GenerationRequest, prompt: list[int], constraint: Constraint | None
) -> Decoding:
    settings, vocabulary = request.settings, loaded.vocabulary
    text = TokenText(vocabulary, settings.stop, vocabulary.special_tokens(request.markers))
    return Decoding(
        cache=loaded.cache,
        sampler=Sampler(settings, loaded.followed(prompt)),
        text=text,
        constraint=constraint,
        eos_tokens=loaded.eos_tokens,
        limit=min(settings.max_tokens, loaded.room_after(len(prompt))),
        recorder=None if request.top_logprobs is None else LogprobRecorder(request.top_logprobs, text.spell),
    )


def _load_failure(spec: LoadSpec, error: EngineError) -> HostError:
    if _is_memory_failure(error):
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory while loading: {error}")
    adapter = f" with the adapter {spec.options.lora}" if spec.options.lora else ""
    text = f"ONNX Runtime cannot load {spec.path}{adapter}: {error}"
    return HostError(ErrorCode.MODEL_INVALID, text, model_path=str(spec.path))


def _generation_failure(error: EngineError) -> HostError:
    if _is_memory_failure(error):
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory: {error}")
    return HostError(ErrorCode.INTERNAL, f"The engine failed: {error}")


def _is_memory_failure(error: EngineError) -> bool:
    return any(words in str(error) for words in _OUT_OF_MEMORY)
