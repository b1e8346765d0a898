"""The interface of an engine. It is synchronous: the worker owns the threads, the daemon owns the waiting.

Above it: `backends.worker`. A new backend is a class that satisfies `Backend` and a row in `backends.registry`.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol

from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, Capabilities, FinishReason, PictureFigures, TokenLogprob
from messages.options import JsonObjectFormat, JsonSchemaFormat, LoadOptions, ResponseFormat
from messages.settings import InferenceSettings
from messages.tools import Tool

ProgressCallback = Callable[[str, float | None, str], None]
"""`(phase, progress, message)`: phase is a word, progress 0..1 or None, message one sentence."""


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to load: an absolute path, and options of which each is in the backend's row.

    cache_path is a folder of ours (it need not be there yet) for what a backend measures once and remembers.
    """

    path: Path
    options: LoadOptions
    cache_path: Path | None = None


class Template(Protocol):
    """A model's chat template, as `backends.chat_template.ChatTemplate` is one."""

    @property
    def source(self) -> str:
        """Its Jinja source, which tells how the model thinks and calls tools."""

    @property
    def takes_tools(self) -> bool:
        """True if it tells the model of tools."""

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool] = (), variables: Mapping[str, Any] | None = None
    ) -> str:
        """The prompt of a conversation."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What was loaded. context_length is in tokens, size_bytes is the weights' size on disk.

    dtype and notes are those of `messages.facts.ModelState`. template is what messages go through, None where there is
    none; markers are those of `backends.answer.dialects.MARKERS` that the vocabulary has as one token.
    """

    backend_type: BackendType
    context_length: int | None
    size_bytes: int | None
    device: str | None
    capabilities: Capabilities
    dtype: str | None = None
    notes: tuple[str, ...] = ()
    template: Template | None = None
    markers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class JsonPart:
    """JSON by a schema."""

    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TextUpTo:
    """Any text up to the first `end`, which is part of it and whose first character comes once in it."""

    end: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of some given texts."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """A tool call as the model writes it: given texts, and what it may choose."""

    parts: tuple[str | JsonPart | TextUpTo | OneOf, ...]


@dataclass(frozen=True, slots=True)
class ReasoningFrame:
    """Reasoning that may come before what is constrained: free text up to `end`, and white space.

    It begins with `start`; None where the prompt has begun it, so that it must come.
    """

    start: str | None
    end: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to generate. The settings are complete; response_format None is free text.

    top_logprobs is how many likeliest tokens to tell beside each output token, None to tell no probabilities; it is
    None for every backend whose capabilities lack `logprobs`.
    forced_calls are the tool calls of which the answer must be one, or else JSON by the response_format, if there is
    one. Both hold behind the reasoning, where there may be some. markers are special tokens whose spelling belongs to
    the answer's text.
    """

    prompt: PromptInput
    settings: InferenceSettings
    response_format: ResponseFormat | None = None
    top_logprobs: int | None = None
    forced_calls: tuple[ForcedCall, ...] = ()
    reasoning: ReasoningFrame | None = None
    markers: frozenset[str] = frozenset()

    @property
    def choices(self) -> tuple[ForcedCall, ...]:
        """The forced calls, and the JSON that may stand in their place as if it were one more."""
        if isinstance(self.response_format, JsonObjectFormat | JsonSchemaFormat):
            return (*self.forced_calls, ForcedCall((JsonPart(self.response_format.schema_object),)))
        return self.forced_calls


class Prefill(NamedTuple):
    """`done` of `total` prompt tokens are processed, `cached` of them were in the KV cache from before."""

    done: int
    total: int
    cached: int


class TokenChunk(NamedTuple):
    """New text (may be empty while a character or a stop string is incomplete) and the tokens it took.

    logprobs has these tokens, if they were asked for: a token is told when it is chosen, whenever its text comes.
    """

    text: str
    tokens: int = 1
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationEnd:
    """The last thing a generation yields; token counts are the engine's own, pictures those of the request.

    reasoning_tokens are the reader's to count, which knows what is reasoning.
    """

    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    pictures: tuple[PictureFigures, ...] = ()
    reasoning_tokens: int = 0


GenerationEvent = Prefill | TokenChunk | GenerationEnd


@dataclass(frozen=True, slots=True)
class BackendState:
    """What an engine tells of itself: tokens in its KV cache, and the settings it last ran with."""

    kv_tokens: int = 0
    settings: InferenceSettings = field(default_factory=InferenceSettings)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of texts, `(n_texts, dimensions)`, and the tokens that were read, those that were cut off not counted.

    truncated has the places (from 0) of the texts that were longer than the model reads.
    """

    vectors: Sequence[Sequence[float]]
    dimensions: int
    input_tokens: int
    truncated: tuple[int, ...] = ()


class CancelToken:
    """A cancellation: set once from any thread, seen by the engine between steps or through a callback."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        """True once `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel; callbacks run now, in this thread."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call back upon `cancel`, or at once if it has come already. The callback must be quick and not raise."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, seconds: float) -> bool:
        """Sleep up to `seconds`; True if cancelled."""
        return self._event.wait(seconds)


class Backend(Protocol):
    """One engine with one model. Every method runs in the worker's one engine thread.

    Expected failures are raised as `HostError` with their code; anything else is answered as `internal`.
    """

    unsupported_settings: ClassVar[frozenset[str]]
    """Names of `InferenceSettings` that it cannot honour; refused where they differ from "off"."""

    response_formats: ClassVar[frozenset[str]]
    """Values of `response_format.type` that it honours, apart from "text"."""

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Load a model; called again, with fewer options, only if it has refused one of those before.

        Raises HostError `model_invalid`, `out_of_memory`, `unsupported_option`, `engine_missing`, `engine_broken`.
        """

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Yield Prefill (any), TokenChunk (any), then one GenerationEnd, also when cancelled.

        Closing the iterator early must leave the backend usable.
        Raises HostError `context_overflow`, `invalid_request`, `unsupported_option`, `out_of_memory`.
        """

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the tokens of a prompt after its chat template."""

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """One vector a text, of length 1 if they are to be normalised; None is as the model says.

        Raises HostError `invalid_request`, `unsupported_option` (see `refuse_embeddings`), `out_of_memory`.
        """

    def get_state(self) -> BackendState:
        """Tell how the engine stands."""

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Check settings against what the engine can do, and return them; `unsupported_option` otherwise."""

    def close(self) -> None:
        """Free everything; called once, last."""


def refuse_unsupported_settings(
    settings: InferenceSettings, unsupported: frozenset[str], backend: str
) -> InferenceSettings:
    """Raise `unsupported_option` for a setting that a backend cannot honour and that is not off; else return them."""
    off = InferenceSettings()
    wanted = sorted(name for name in unsupported if getattr(settings, name) != getattr(off, name))
    if wanted:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The {backend} backend cannot do {', '.join(wanted)}; leave it out.",
            fields=[f"settings.{name}" for name in wanted],
        )
    return settings


def refuse_embeddings(backend: str) -> NoReturn:
    """Raise `unsupported_option`, for a backend that makes no embeddings."""
    text = f"The {backend} backend makes no embeddings; load a sentence-embedding model in ONNX format."
    raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["model"])
