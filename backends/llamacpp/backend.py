"""The llama.cpp backend: GGUF models, with the decode loop of `generation` on llama-cpp-python's low-level API.

Above it: the worker. Imported late, since it imports the engine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import psutil

from backends.answer.dialects import MARKERS
from backends.base import (
    BackendState,
    CancelToken,
    Embeddings,
    GenerationEvent,
    GenerationRequest,
    LoadSpec,
    ModelInfo,
    ProgressCallback,
    refuse_embeddings,
)
from backends.cancellation import Cancelled
from backends.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from backends.guards import require_memory, require_prompt, require_room, require_single
from backends.llamacpp import amx
from backends.llamacpp.abort import Aborted, AbortFlag
from backends.llamacpp.constraint import FORMATS, grammar_sampler
from backends.llamacpp.devices import Placement, list_gpus, place
from backends.llamacpp.engine import Engine, EngineOptions, default_threads
from backends.llamacpp.engine_log import EngineLog
from backends.llamacpp.framing import grammar_for
from backends.llamacpp.generation import Generation, Limits, Record
from backends.llamacpp.header import Header
from backends.llamacpp.lora import read_adapter
from backends.llamacpp.memory import (
    ModelShape,
    choose_batches,
    choose_context,
    needed_bytes,
    read_shape,
    require_trained_context,
)
from backends.llamacpp.operands import require_operands
from backends.llamacpp.parts import read_model_header
from backends.llamacpp.products import Products
from backends.llamacpp.projector import Projector, choose_projector
from backends.llamacpp.prompt import Prompt, PromptReader
from backends.llamacpp.sampler import Sample, sampling
from backends.llamacpp.vocabulary import Pieces
from backends.logprobs import LogprobRecorder
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, Capabilities
from messages.settings import InferenceSettings

if TYPE_CHECKING:
    from backends.llamacpp.media import MediaReader


@dataclass(slots=True)
class _Loaded:
    """A model that is ready, and what was said to it last."""

    engine: Engine
    context_length: int
    prompts: PromptReader
    settings: InferenceSettings = field(default_factory=InferenceSettings)


class LlamaCppBackend:
    """One GGUF model in llama.cpp."""

    unsupported_settings: ClassVar[frozenset[str]] = frozenset()
    response_formats: ClassVar[frozenset[str]] = FORMATS

    def __init__(self) -> None:
        self._log = EngineLog()
        self._loaded: _Loaded | None = None

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Load a model; its header is checked, and its memory counted, before the engine sees it."""
        require_single(spec.options, "llamacpp")
        header = read_model_header(spec.path, distinct_tokens=True)
        shape = read_shape(header)
        context = choose_context(shape, spec.options)
        placement = place(spec.options, list_gpus())
        require_operands(header, on_processor=not placement.gpus)
        projector, notes = choose_projector(spec.options.projector_path, header, on_processor=not placement.gpus)
        _require_fit(header, shape, context, placement, projector)
        self._log.open()
        adapter = read_adapter(spec.options.lora, header) if spec.options.lora else None
        threads = spec.options.threads or default_threads()
        batches = choose_batches(header.file_bytes, bool(placement.gpus))
        products = Products.of(header, repacks=not amx.is_broken())
        options = EngineOptions(context, threads, placement, batches, shape, products, adapter, projector)
        self._loaded = _prepare(Engine(spec.path, options, self._log, progress), options, header)
        return ModelInfo(
            backend_type=placement.backend_type,
            context_length=context,
            size_bytes=header.file_bytes,
            device=placement.device,
            capabilities=_capabilities(self._loaded.engine, self._loaded.prompts.template),
            notes=notes,
            template=self._loaded.prompts.template,
            markers=self._loaded.engine.vocabulary.known(MARKERS),
        )

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Yield Prefill, TokenChunk and one GenerationEnd; the KV cache is kept for the next turn.

        Raises Cancelled if that comes before the prompt is known in tokens.
        """
        loaded = self._require_loaded()
        loaded.settings = request.settings
        grammar = grammar_for(request)
        flag = AbortFlag(cancel)
        try:
            prompt = loaded.prompts.read(request.prompt, flag)
        except Aborted:
            raise Cancelled from None
        require_prompt(request.prompt, prompt.tokens)
        require_room(len(prompt.tokens), loaded.context_length)
        vocabulary = loaded.engine.vocabulary
        constraint = grammar_sampler(vocabulary.handle, grammar, self._log) if grammar else None
        pieces = vocabulary.pieces_with(request.markers) if request.markers else vocabulary.pieces
        with sampling(loaded.engine.logits, request.settings, prompt.tokens, constraint) as sample:
            recorder = _recorder(loaded.engine, request.top_logprobs)
            yield from _run(loaded, prompt, sample, pieces, flag, recorder)

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the tokens of a prompt after its chat template."""
        return len(self._require_loaded().prompts.read(prompt).tokens)

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """Nothing of the kind: HostError `unsupported_option`."""
        refuse_embeddings("llamacpp")

    def get_state(self) -> BackendState:
        """Tell how many tokens the KV cache holds, and the last settings."""
        if self._loaded is None:
            return BackendState()
        return BackendState(len(self._loaded.engine.decoder.cache.tokens), self._loaded.settings)

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Return the settings: llama.cpp's samplers honour all of them."""
        return settings

    def close(self) -> None:
        """Free the model."""
        if self._loaded is not None:
            self._loaded.engine.close()
            self._loaded = None
        self._log.close()

    def _require_loaded(self) -> _Loaded:
        if self._loaded is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, "No model is loaded; load one first.")
        return self._loaded


def _require_fit(
    header: Header, shape: ModelShape, context: int, placement: Placement, projector: Projector | None
) -> None:
    """Raise `invalid_request` or `out_of_memory` for a context that does not fit the model or the machine."""
    needed = needed_bytes(header, shape, context, projector)
    on_gpus = sum(gpu.free_bytes for gpu in placement.gpus if placement.backend_type is not BackendType.LLAMA_CPP_METAL)
    require_trained_context(shape, context)
    require_memory(header.path, needed, psutil.virtual_memory().available + on_gpus)


def _capabilities(engine: Engine, template: ChatTemplate) -> Capabilities:
    taken = engine.multimodal
    image, audio = (taken.vision, taken.audio) if taken else (False, False)
    return Capabilities(json_schema=True, logprobs=True, tools=template.takes_tools, image=image, audio=audio)


def _prepare(engine: Engine, options: EngineOptions, header: Header) -> _Loaded:
    source = header.text("tokenizer.chat_template") or DEFAULT_TEMPLATE
    vocabulary = engine.vocabulary
    try:
        template = ChatTemplate(source, bos_token=vocabulary.bos_text, eos_token=vocabulary.eos_text)
    except HostError:
        engine.close()
        raise
    return _Loaded(engine, options.context, PromptReader(vocabulary, template, _media_reader(engine, options)))


def _media_reader(engine: Engine, options: EngineOptions) -> "MediaReader | None":
    if engine.multimodal is None or options.projector is None:
        return None
    from backends.llamacpp.media import MediaReader

    return MediaReader(options.projector, engine.multimodal, options.context)


def _recorder(engine: Engine, top: int | None) -> Record | None:
    """What tells the probabilities of tokens, if they are asked for; `top` is how many others each names."""
    if top is None:
        return None
    recorder = LogprobRecorder(top, engine.vocabulary.spell)
    return lambda token: recorder.record(engine.logits.read(), token)


def _run(
    loaded: _Loaded, prompt: Prompt, sample: Sample, pieces: Pieces, flag: AbortFlag, record: Record | None
) -> Iterator[GenerationEvent]:
    """Run one generation; what it said is remembered only if it came to its end."""
    engine, settings = loaded.engine, loaded.settings
    limits = Limits(settings.max_tokens, loaded.context_length, settings.stop)
    generation = Generation(engine.decoder, pieces, prompt, limits, flag)
    loaded.prompts.forget()
    engine.decoder.watch(flag)
    try:
        yield from generation.run(sample, record)
    finally:
        engine.decoder.watch(None)
    if generation.text_is_whole:
        loaded.prompts.remember(prompt, "".join(generation.texts), generation.tokens)
    yield generation.end
