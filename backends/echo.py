"""The ECHO backend: answers with the last message's text, word by word, at a set rate. For developers and tests.

It is deterministic and has no engine: what it proves is the way of a request, never an engine's behaviour. With the
option `pictures` it takes pictures too, scaled as for a Qwen2-VL, and tells nothing of them but their sizes.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    Prefill,
    ProgressCallback,
    TokenChunk,
    refuse_embeddings,
    refuse_unsupported_settings,
)
from backends.faults import Fault, parse_fault
from backends.guards import require_room
from backends.text_stream import StopFilter
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, Capabilities, FinishReason, PictureFigures
from messages.options import LoadOptions
from messages.settings import InferenceSettings

DEVICE = "cpu"
DEFAULT_CONTEXT_LENGTH = 2**24
QWEN_FACTOR = 28
QWEN_PIXELS = (56 * 56, 1280 * 28 * 28)
PREFILL_STEP_S = 0.02
PACING_SLACK_S = 0.002

_WORD = re.compile(r"\s*\S+|\s+$")


def split_words(text: str) -> list[str]:
    """Cut a text into words with the white space before each; joined, they are the text."""
    return _WORD.findall(text)


def _require_device(wanted: str | None) -> None:
    if wanted not in (None, "auto", DEVICE):
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The echo runs on the {DEVICE} alone; {wanted!r} is no device of it.",
            fields=[f"options.device: must be one of auto, {DEVICE}"],
        )


class EchoBackend:
    """See the module. Options: `tokens_per_second` (as fast as it goes without), `prefill_ms`, `context_length`."""

    unsupported_settings: ClassVar[frozenset[str]] = frozenset()
    response_formats: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self._options = LoadOptions()
        self._fault: Fault | None = None
        self._state = BackendState()

    def load(self, spec: LoadSpec, progress: ProgressCallback) -> ModelInfo:
        """Take the options; there is nothing to read. HostError `unsupported_option` for a device but its own."""
        _require_device(spec.options.device)
        self._options = spec.options
        self._fault = parse_fault(spec.options.fault)
        progress("loading", 0.5, "Loading echo")
        if self._fault:
            self._fault.strike_at_load()
        progress("loading", 1.0, "Loaded echo")
        return ModelInfo(
            backend_type=BackendType.ECHO,
            context_length=self._context_length,
            size_bytes=0,
            device=DEVICE,
            capabilities=Capabilities(image=bool(self._options.pictures)),
        )

    def generate(self, request: GenerationRequest, cancel: CancelToken) -> Iterator[GenerationEvent]:
        """Yield the last message's words at the set rate."""
        self.update_settings(request.settings)
        pictures = self._picture_figures(request.prompt)
        total = self.count_tokens(request.prompt)
        require_room(total, self._context_length)
        yield from self._prefill(total, cancel)
        room = self._context_length - total
        for event in self._decode(request, total, min(request.settings.max_tokens, room), cancel):
            yield replace(event, pictures=pictures) if isinstance(event, GenerationEnd) else event

    def count_tokens(self, prompt: PromptInput) -> int:
        """Count the words of all messages."""
        texts = [prompt.prompt or ""] if prompt.messages is None else [message.text for message in prompt.messages]
        return sum(len(split_words(text)) for text in texts)

    def embed(self, texts: Sequence[str], normalize: bool | None) -> Embeddings:
        """Nothing of the kind: HostError `unsupported_option`."""
        refuse_embeddings("echo")

    def get_state(self) -> BackendState:
        """Tell the settings it last ran with."""
        return self._state

    def update_settings(self, settings: InferenceSettings) -> InferenceSettings:
        """Take any settings; only max_tokens and stop have an effect."""
        refuse_unsupported_settings(settings, self.unsupported_settings, "echo")
        self._state = BackendState(settings=settings)
        return settings

    def close(self) -> None:
        """Nothing to free."""

    @property
    def _context_length(self) -> int:
        return self._options.context_length or DEFAULT_CONTEXT_LENGTH

    def _picture_figures(self, prompt: PromptInput) -> tuple[PictureFigures, ...]:
        if not self._options.pictures:
            return ()
        from backends.pictures import read_pictures, smart_fit  # needs Pillow, which the echo does without otherwise

        fit = smart_fit(QWEN_FACTOR, *QWEN_PIXELS)
        return tuple(picture.figures for picture in read_pictures(prompt, fit))

    def _prefill(self, total: int, cancel: CancelToken) -> Iterator[Prefill]:
        seconds = (self._options.prefill_ms or 0.0) / 1000
        started, told = time.monotonic(), -1
        while (elapsed := time.monotonic() - started) < seconds and not cancel.cancelled:
            done = int(total * elapsed / seconds)
            if done != told:
                yield Prefill(done=done, total=total, cached=0)
                told = done
            cancel.wait(min(PREFILL_STEP_S, seconds - elapsed))
        yield Prefill(done=total, total=total, cached=0)

    def _decode(
        self, request: GenerationRequest, total: int, limit: int, cancel: CancelToken
    ) -> Iterator[GenerationEvent]:
        words = split_words(_last_text(request.prompt))
        stops = StopFilter(request.settings.stop)
        pace = _Pace(self._options.tokens_per_second)
        reason = FinishReason.STOP
        produced = 0
        for word in words:
            if produced == limit:
                reason = FinishReason.LENGTH
                break
            if self._fault:
                self._fault.strike_at_token(produced)
            if pace.wait(produced, cancel):
                reason = FinishReason.CANCELLED
                break
            produced += 1
            yield TokenChunk(stops.feed(word))
            if stops.stopped:
                break
        tail = stops.flush()
        if tail:
            yield TokenChunk(tail, tokens=0)
        yield GenerationEnd(reason, input_tokens=total, output_tokens=produced)


class _Pace:
    """Holds a rate: token n is due n / rate seconds after the first was asked for."""

    def __init__(self, tokens_per_second: float | None) -> None:
        self._interval = 1 / tokens_per_second if tokens_per_second else 0.0
        self._started = time.monotonic()

    def wait(self, token: int, cancel: CancelToken) -> bool:
        """Sleep until a token is due; True if cancelled. At high rates tokens come in bursts of 2 ms."""
        ahead = self._started + token * self._interval - time.monotonic()
        if ahead > PACING_SLACK_S or (self._interval > PACING_SLACK_S and ahead > 0):
            return cancel.wait(ahead)
        return cancel.cancelled


def _last_text(prompt: PromptInput) -> str:
    return (prompt.prompt or "") if prompt.messages is None else prompt.messages[-1].text
