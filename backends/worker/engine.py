"""Carries out one command after another on one backend, in the engine thread.

Above it: `backends.worker.control`. Below it: a `Backend`.
"""

import gc
from dataclasses import replace
from pathlib import Path

from backends.answer.events import AnswerChunk, read_events
from backends.answer.plan import Planner
from backends.base import (
    Backend,
    CancelToken,
    GenerationEnd,
    GenerationEvent,
    LoadSpec,
    ModelInfo,
    Prefill,
    TokenChunk,
)
from backends.cancellation import Cancelled, cancellable
from backends.general_options import settle
from backends.heap import HeapTrimmer
from backends.registry import row
from backends.sender import TokenSender
from backends.worker.link import EventWriter
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import LoadOptions
from messages.worker import (
    CountCommand,
    CountedEvent,
    EmbedCommand,
    EmbeddedEvent,
    EndedEvent,
    GenerateCommand,
    LoadCommand,
    LoadedEvent,
    LoadProgressEvent,
    PrefillEvent,
    VectorsEvent,
)

VECTOR_VALUES = 1 << 16
"""Values of vectors that one event carries at most: about 800 KB of JSON."""


class Engine:
    """One backend with one model, once `load` was called."""

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._backend: Backend | None = None
        self._name = ""
        self._context_length: int | None = None
        self._planner: Planner | None = None
        self._heap = HeapTrimmer()

    def load(self, command: LoadCommand) -> None:
        """Make the backend and load its model."""
        chosen = row(command.backend)
        backend = chosen.create()
        gc.freeze()
        gc.enable()
        options = chosen.known_options(command.options, command.general)
        size = _size(Path(command.path))

        def report(phase: str, progress: float | None, message: str) -> None:
            self._writer.write(
                LoadProgressEvent(ref=command.ref, phase=phase, progress=progress, message=message, total_bytes=size)
            )

        def attempt(taken: LoadOptions) -> ModelInfo:
            return backend.load(LoadSpec(Path(command.path), taken, _path(command.cache_path)), report)

        settled = settle(attempt, options, command.general)
        info = replace(settled.result, notes=(*settled.result.notes, *settled.notes))
        self._backend, self._name, self._context_length = backend, chosen.name, info.context_length
        self._planner = Planner(info, backend.response_formats)
        self._heap.note_load()
        self._writer.write(_loaded(command.ref, info, settled.options, backend))

    def generate(self, command: GenerateCommand, cancel: CancelToken) -> None:
        """Run one generation, its tokens gathered into few events."""
        backend = self._require_backend()
        _refuse_unknown_format(backend, self._name, command)
        assert self._planner is not None
        plan = self._planner.plan(command)
        tokens = TokenSender(command.ref, self._writer.write)
        raw = backend.generate(plan.request, cancel)
        events = raw if plan.reader is None else read_events(raw, plan.reader, cancel)
        ended: EndedEvent | None = None
        try:
            with cancellable(cancel):
                for event in events:
                    end = self._forward(command.ref, event, tokens)
                    ended = None if end is None else _ended(command.ref, end, tokens.decode_s)
        except Cancelled:
            ended = _cancelled_early(command)
        finally:
            tokens.flush()
        if ended is None:
            raise RuntimeError(f"{self._name} ended a generation without saying so")
        self._writer.write(ended)
        self._heap.note_generation()

    def count(self, command: CountCommand) -> None:
        """Count a prompt's tokens."""
        tokens = self._require_backend().count_tokens(command.prompt)
        self._writer.write(CountedEvent(ref=command.ref, tokens=tokens, context_length=self._context_length))

    def embed(self, command: EmbedCommand) -> None:
        """Make vectors of texts, and send them piece by piece."""
        made = self._require_backend().embed(command.texts, command.normalize)
        rows = max(1, VECTOR_VALUES // made.dimensions)
        for start in range(0, len(made.vectors), rows):
            piece = tuple(tuple(vector) for vector in made.vectors[start : start + rows])
            self._writer.write(VectorsEvent(ref=command.ref, vectors=piece))
        self._writer.write(
            EmbeddedEvent(
                ref=command.ref,
                dimensions=made.dimensions,
                input_tokens=made.input_tokens,
                truncated=made.truncated,
            )
        )

    def close(self) -> None:
        """Free the backend."""
        if self._backend is not None:
            self._backend.close()

    def _forward(self, ref: int, event: GenerationEvent | AnswerChunk, tokens: TokenSender) -> GenerationEnd | None:
        match event:
            case TokenChunk():
                tokens.send(event)
            case AnswerChunk():
                tokens.send_answer(event)
            case Prefill():
                self._writer.write(PrefillEvent(ref=ref, done=event.done, total=event.total, cached=event.cached))
            case GenerationEnd():
                return event
        return None

    def _require_backend(self) -> Backend:
        if self._backend is None:
            raise HostError(ErrorCode.MODEL_NOT_LOADED, "The worker has no model; load one first.")
        return self._backend


def _refuse_unknown_format(backend: Backend, name: str, command: GenerateCommand) -> None:
    wanted = command.response_format
    if wanted is not None and wanted.type != "text" and wanted.type not in backend.response_formats:
        known = ", ".join(["text", *sorted(backend.response_formats)])
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The {name} backend cannot do response_format {wanted.type}; it can do {known}.",
            fields=["response_format.type"],
        )


def _cancelled_early(command: GenerateCommand) -> EndedEvent:
    """The end of a generation whose prompt nobody has read: what is in it is not known."""
    return EndedEvent(
        ref=command.ref,
        finish_reason=FinishReason.CANCELLED,
        input_tokens=None,
        output_tokens=0,
        cached_tokens=None,
        pictures=None if command.prompt.has_part("image") else (),
    )


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _size(path: Path) -> int | None:
    """The bytes of a model's file, or of all files in its folder; None for a model without any."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else None


def _loaded(ref: int, info: ModelInfo, options: LoadOptions, backend: Backend) -> LoadedEvent:
    return LoadedEvent(
        ref=ref,
        backend_type=info.backend_type,
        options=options,
        context_length=info.context_length,
        size_bytes=info.size_bytes,
        device=info.device,
        dtype=info.dtype,
        notes=info.notes,
        capabilities=info.capabilities,
        unsupported_settings=tuple(sorted(backend.unsupported_settings)),
        response_formats=tuple(sorted(backend.response_formats)),
    )


def _ended(ref: int, end: GenerationEnd, decode_s: float | None) -> EndedEvent:
    return EndedEvent(
        ref=ref,
        finish_reason=end.finish_reason,
        input_tokens=end.input_tokens,
        output_tokens=end.output_tokens,
        cached_tokens=end.cached_tokens,
        reasoning_tokens=end.reasoning_tokens,
        decode_s=decode_s,
        pictures=end.pictures,
    )
