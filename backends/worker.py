"""The worker: `python -m backends.worker LINK` runs one backend with one model and speaks frames on a socket.

Two threads: this module's control thread reads commands, so that a cancel is seen at once; the engine thread runs the
engine. Above it: `native_host.worker_process` at the other end of the socket. Below it: a `Backend`.
The socket's end is the worker's end, whatever the engine does at that moment.
"""

import faulthandler
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
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
from backends.heap import HeapTrimmer
from backends.native_faults import fault_of, leave
from backends.panics import is_failure
from backends.registry import BackendRow, row
from backends.sender import TokenSender
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.frames import MAX_WORKER_BYTES, FrameDecoder, FrameError, frame
from messages.worker import (
    TOKEN_VARIABLE,
    CancelCommand,
    CountCommand,
    CountedEvent,
    EmbedCommand,
    EmbeddedEvent,
    EndedEvent,
    Event,
    FailedEvent,
    GenerateCommand,
    LoadCommand,
    LoadedEvent,
    LoadProgressEvent,
    PrefillEvent,
    VectorsEvent,
    read_command,
    write_event,
)

logger = logging.getLogger("tabagent.worker")

READ_BYTES = 1 << 16
VECTOR_VALUES = 1 << 16
"""Values of vectors that one event carries at most: about 800 KB of JSON."""

CLOSE_TIMEOUT_S = 1.0
"""How long an engine may take to stop and free what outlives a process, in seconds."""


class EventWriter:
    """Writes events to the socket, whole frames only, from either thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        """Send one event; blocks while the daemon does not read. Once it is gone nobody misses the event."""
        data = frame(write_event(event))
        try:
            with self._lock:
                self._connection.sendall(data)
        except ConnectionError:
            pass


class Engine:
    """The engine thread's side: carries out one command after another on one backend."""

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
        _refuse_unknown_options(chosen, backend, command)

        size = _size(Path(command.path))

        def report(phase: str, progress: float | None, message: str) -> None:
            self._writer.write(
                LoadProgressEvent(ref=command.ref, phase=phase, progress=progress, message=message, total_bytes=size)
            )

        info = backend.load(LoadSpec(Path(command.path), command.options, _path(command.cache_path)), report)
        self._backend, self._name, self._context_length = backend, chosen.name, info.context_length
        self._planner = Planner(info, backend.response_formats)
        self._heap.note_load()
        self._writer.write(_loaded(command.ref, info, backend))

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


class Worker:
    """The control thread's side: reads commands, hands work to the engine thread, cancels at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writer = EventWriter(connection)
        self._engine = Engine(self._writer)
        self._work: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._cancels: dict[int, CancelToken] = {}

    def run(self) -> None:
        """Read commands until the socket ends; then leave, soon even if the engine hangs."""
        engine = threading.Thread(target=self._run_engine, name="engine", daemon=True)
        engine.start()
        decoder = FrameDecoder(MAX_WORKER_BYTES)
        while data := self._receive():
            decoder.feed(data)
            for body in decoder.frames():
                if isinstance(body, FrameError):
                    raise RuntimeError(body.message)
                self._take(body)
        self._work.put(None)
        for cancel in list(self._cancels.values()):
            cancel.cancel()
        engine.join(CLOSE_TIMEOUT_S)

    def _receive(self) -> bytes:
        """What the daemon has sent; nothing once it is gone, also where it left without reading our events."""
        try:
            return self._connection.recv(READ_BYTES)
        except ConnectionResetError:
            return b""

    def _take(self, body: bytes | bytearray) -> None:
        command = read_command(body)
        match command:
            case CancelCommand():
                self._cancel(command.ref)
            case LoadCommand():
                self._work.put((command.ref, lambda: self._engine.load(command)))
            case CountCommand():
                self._work.put((command.ref, lambda: self._engine.count(command)))
            case EmbedCommand():
                self._work.put((command.ref, lambda: self._engine.embed(command)))
            case GenerateCommand():
                cancel = self._cancels[command.ref] = CancelToken()
                self._work.put((command.ref, lambda: self._engine.generate(command, cancel)))

    def _cancel(self, ref: int) -> None:
        cancel = self._cancels.get(ref)
        if cancel is not None:
            cancel.cancel()

    def _run_engine(self) -> None:
        while (item := self._work.get()) is not None:
            ref, work = item
            try:
                work()
            except HostError as error:
                self._fail(ref, error)
            except MemoryError:
                self._fail(ref, HostError(ErrorCode.OUT_OF_MEMORY, "The engine ran out of memory."))
            except BaseException as error:
                if not is_failure(error):
                    raise
                logger.exception("the engine failed")
                if (status := fault_of(error)) is not None:
                    leave(status)
                text = f"The engine failed: {type(error).__name__}. The worker's log has the details."
                self._fail(ref, HostError(ErrorCode.INTERNAL, text))
            finally:
                self._cancels.pop(ref, None)
        self._engine.close()

    def _fail(self, ref: int, error: HostError) -> None:
        self._writer.write(FailedEvent(ref=ref, code=error.code, message=error.message, details=error.details))


def _refuse_unknown_options(chosen: BackendRow, backend: Backend, command: LoadCommand) -> None:
    unknown = sorted(command.options.wanted() - backend.load_options - {"keep_alive_s"})
    if unknown:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The {chosen.name} backend cannot do {', '.join(unknown)}; leave it out.",
            fields=[f"options.{name}" for name in unknown],
        )


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


def _loaded(ref: int, info: ModelInfo, backend: Backend) -> LoadedEvent:
    return LoadedEvent(
        ref=ref,
        backend_type=info.backend_type,
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


def open_link(address: str) -> socket.socket:
    """The socket to the daemon: an inherited file descriptor's number, or `tcp:PORT` on loopback.

    On TCP the first bytes that are sent are the token in the environment, by which the daemon knows its worker.
    """
    if not address.startswith("tcp:"):
        return socket.socket(fileno=int(address))
    connection = socket.create_connection(("127.0.0.1", int(address.removeprefix("tcp:"))))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(os.environ.pop(TOKEN_VARIABLE).encode())
    return connection


def main() -> None:
    """Run a worker on the socket that the only argument names."""
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        Worker(open_link(sys.argv[1])).run()
    except Exception:
        logger.exception("the worker failed")
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
