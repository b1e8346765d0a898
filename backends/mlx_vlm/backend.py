"""The mlx_vlm backend: text from text and pictures with MLX, on Metal, CUDA or the processor.

Above it: `backends.worker`, whose one engine thread calls it: MLX models must not change threads. Below it: `model`,
`prompt`, `kv_cache`, `decoding`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import mlx.core as mx

from backends.base import (
    BackendState,
    CancelToken,
    Embeddings,
    GenerationEnd,
    GenerationEvent,
    GenerationRequest,
    LoadSpec,
    ModelInfo,
    Prefill,
    ProgressCallback,
    refuse_embeddings,
    refuse_unsupported_settings,
)
from backends.guards import require_memory, require_prompt, require_room, require_single
from backends.huggingface.files import read_json
from backends.huggingface.guidance import Constraint, make_constraint
from backends.huggingface.vocabulary import TokenText, Vocabulary, with_template
from backends.logprobs import LogprobRecorder
from backends.mlx_vlm.checkpoint import Checkpoint, read_checkpoint
from backends.mlx_vlm.constraint import ConstraintMask
from backends.mlx_vlm.decoding import Decoding
from backends.mlx_vlm.devices import MlxDevice, choose_device
from backends.mlx_vlm.failures import EngineError, generation_failure
from backends.mlx_vlm.kv_cache import KvCache
from backends.mlx_vlm.model import DecodeSettings, MlxModel, PromptReading
from backends.mlx_vlm.preprocessing import Preprocessor
from backends.mlx_vlm.prompt import EncodedPrompt, PromptEncoder
from backends.mlx_vlm.sampler import LogitsProcessor, make_penalties, make_sampler
from backends.mlx_vlm.scores import ScoreTap
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import Capabilities, FinishReason
from messages.settings import InferenceSettings

NAME = "mlx_vlm"

_SAMPLE = "Hello"
"""A text of which every tokenizer that works makes tokens; one that does not is better found out while loading."""

_UNSCALED = (
    "The folder has no preprocessor_config.json: pictures are scaled as mlx-vlm does without one, which the model may"
    " not have been trained on."
)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a loaded model consists of. context is in tokens."""

    model: MlxModel
    encoder: PromptEncoder
    vocabulary: Vocabulary
    cache: KvCache
    eos_tokens: frozenset[int]
    context: int


class MlxVlmBackend:
    """One model in MLX."""

    unsupported_settings: ClassVar[frozenset[str]] = frozenset()
    response_formats: ClassVar[frozenset[str]] = frozenset({"json_object", "json_schema", "regex"})

    def __init__(self) -> None:
        self._loaded: _Loaded | None = None
        self._settings = InferenceSettings()

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Check the folder and the memory, then load it."""
        require_single(spec.options, NAME)
        progress("reading", 0.0, "Reading the model's folder.")
        checkpoint = read_checkpoint(spec.path)
        context = checkpoint.context_for(spec.options.context_length)
        device = choose_device(spec.options.device)
        require_memory(spec.path, checkpoint.needed_bytes(context))
        mx.set_default_device(device.kind)
        progress("weights", 0.1, f"Loading {checkpoint.weights_bytes / 1e9:.1f} GB of weights.")
        try:
            self._loaded = _load(checkpoint, device, context)
        except EngineError as error:
            raise _load_failure(checkpoint, error) from error
        progress("ready", 1.0, f"Ready on {device.label}.")
        encoder = self._loaded.encoder
        info = ModelInfo(
            backend_type=device.backend_type,
            context_length=context,
            size_bytes=checkpoint.weights_bytes,
            device=device.label,
            capabilities=Capabilities(image=encoder.takes_pictures, json_schema=True, logprobs=True),
            notes=(_UNSCALED,) if encoder.takes_pictures and not checkpoint.scales else (),
        )
        return with_template(info, encoder.template, self._loaded.vocabulary)

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Read the prompt, then decode token by token; the KV cache is kept for the next turn, unless cancelled."""
        loaded = self._require()
        self._settings = request.settings
        constraint = make_constraint(request, loaded.vocabulary)
        try:
            prompt = loaded.encoder.encode(request.prompt)
            require_prompt(request.prompt, prompt.tokens)
            length = loaded.model.length(prompt)
            require_room(length, loaded.context)
            with loaded.model.wired():
                yield from _run(loaded, request, prompt, length, constraint, cancel)
        except EngineError as error:
            raise generation_failure(error) from error

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the tokens of a prompt after its chat template, those of pictures included."""
        loaded = self._require()
        try:
            return loaded.model.length(loaded.encoder.encode(prompt))
        except EngineError as error:
            raise generation_failure(error) from error

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """Refuse: these models generate."""
        refuse_embeddings(NAME)

    def get_state(self) -> BackendState:
        """Tokens in the KV cache, and the last settings."""
        return BackendState(kv_tokens=len(self._loaded.cache) if self._loaded else 0, settings=self._settings)

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Every setting can be honoured; return them."""
        return refuse_unsupported_settings(settings, self.unsupported_settings, NAME)

    def close(self) -> None:
        """Free the model."""
        self._loaded = None
        mx.clear_cache()

    def _require(self) -> _Loaded:
        if self._loaded is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, "No model is loaded; load one first.")
        return self._loaded


def _load(checkpoint: Checkpoint, device: MlxDevice, context: int) -> _Loaded:
    model = MlxModel(checkpoint, device)
    config = model.config
    image_token = getattr(config, "image_token_index", None) or getattr(config, "image_token_id", None)
    preprocessor = Preprocessor(checkpoint.path, model.processor, image_token, sees=checkpoint.sees)
    if not preprocessor.tokenize(_SAMPLE, add_special_tokens=False):
        raise EngineError("its tokenizer makes no tokens of a text")
    own_end = getattr(model.tokenizer, "eos_token_id", None)
    eos_tokens = checkpoint.eos_tokens | ({own_end} if isinstance(own_end, int) else frozenset())
    description = read_json(checkpoint.path / "tokenizer.json")
    return _Loaded(
        model=model,
        encoder=PromptEncoder(checkpoint.path, preprocessor, model.media_tokens, model.kind),
        vocabulary=Vocabulary(checkpoint.path, description, model.vocab_size, sorted(eos_tokens)),
        cache=KvCache(model.make_cache),
        eos_tokens=eos_tokens,
        context=context,
    )


def _run(
    loaded: _Loaded,
    request: GenerationRequest,
    prompt: EncodedPrompt,
    length: int,
    constraint: Constraint | None,
    cancel: CancelToken,
) -> Iterator[GenerationEvent]:
    """One generation; `length` is the prompt's, in tokens. Its cache is kept only if it came to an end of its own."""
    entries, cached = loaded.cache.take(prompt.tokens, prompt.digests, loaded.model.media_tokens)
    loaded.encoder.forget()
    reading = loaded.model.read(prompt, entries, cached)
    yield Prefill(done=reading.cached, total=length, cached=reading.cached)
    for done in reading.run(cancel):
        yield Prefill(done=done, total=length, cached=reading.cached)
    decoding = _decoding(loaded, request, length, constraint)
    if not cancel.cancelled:
        steps = loaded.model.decode(reading, _decode_settings(request.settings, prompt, decoding), cancel)
        yield from decoding.run(steps, cancel)
    if decoding.finish_reason is not FinishReason.CANCELLED:
        _keep(loaded, prompt, reading, decoding)
    yield GenerationEnd(
        decoding.finish_reason,
        length,
        len(decoding.tokens),
        reading.cached,
        pictures=prompt.pictures,
    )


def _decoding(loaded: _Loaded, request: GenerationRequest, length: int, constraint: Constraint | None) -> Decoding:
    shown = loaded.vocabulary.special_tokens(request.markers)
    text = TokenText(loaded.vocabulary, request.settings.stop, shown)
    top = request.top_logprobs
    return Decoding(
        text=text,
        constraint=constraint,
        eos_tokens=loaded.eos_tokens,
        limit=min(request.settings.max_tokens, loaded.context - length),
        scores=None if top is None else ScoreTap(LogprobRecorder(top, text.spell)),
    )


def _decode_settings(settings: InferenceSettings, prompt: EncodedPrompt, decoding: Decoding) -> DecodeSettings:
    """How to choose tokens. The order counts: scores are told as the network made them."""
    processors: list[LogitsProcessor] = [] if decoding.scores is None else [decoding.scores]
    processors += make_penalties(settings, prompt.tokens)
    if decoding.constraint is not None:
        processors.append(ConstraintMask(decoding.constraint))
    return DecodeSettings(make_sampler(settings), processors, decoding.limit)


def _keep(loaded: _Loaded, prompt: EncodedPrompt, reading: PromptReading, decoding: Decoding) -> None:
    written = not loaded.model.media_tokens.isdisjoint(decoding.seen)  # such a token is no picture, and equal to one
    if reading.reusable and not written:
        loaded.cache.keep(reading.entries, prompt.tokens + decoding.seen, prompt.digests)
    if decoding.text_is_whole:
        loaded.encoder.remember(prompt, "".join(decoding.texts), decoding.tokens)


def _load_failure(checkpoint: Checkpoint, error: EngineError) -> HostError:
    if error.is_memory:
        return HostError(ErrorCode.OUT_OF_MEMORY, f"The engine ran out of memory while loading: {error}")
    text = f"mlx-vlm cannot load {checkpoint.path}: {error}"
    return HostError(ErrorCode.MODEL_INVALID, text, model_path=str(checkpoint.path))
