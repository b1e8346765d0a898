"""One worker process as the daemon sees it: started, spoken to in frames, its output caught, its death explained.

Above it: `native_host.managed_model`. Below it: `backends.worker` at the other end of a socket pair.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from messages.errors import ErrorCode, HostError
from messages.frames import MAX_WORKER_BYTES, FrameDecoder, FrameError, frame_of
from messages.worker import Command, Event, FailedEvent, read_event, write_command
from native_host import runtime, worker_link
from native_host.worker_exit import WorkerExit

logger = logging.getLogger("tabagent.worker_process")

READ_BYTES = 1 << 16
"""Bytes a read: into a buffer of ours, since asyncio's own costs three system calls and a page fault each time."""

WRITE_BYTES = 1 << 18
"""Most bytes a write."""

OUTPUT_LINES = 40
"""Lines that are kept of what an engine says last: a crash is the first of some thirty, the stack behind it."""

OUTPUT_LINE_CHARACTERS = 500
EXIT_TIMEOUT_S = 3.0
LAST_OUTPUT_S = 0.5
"""How long to read a dead worker's output, which a process that it started may still hold open, in seconds."""

EventCallback = Callable[[Event], None]


@dataclass(slots=True)
class _Call:
    """A command that is to be carried out: who wants its events, the future of its last one, and how long it may take.

    It stays until that event has come, whether somebody waits for it or not: the engine is busy with it.
    """

    on_event: EventCallback | None
    last: asyncio.Future[Event]
    limit_s: float | None


def unloaded_meanwhile(model: str) -> HostError:
    """What is said to whoever runs on a model, or waits for it, when it is unloaded."""
    return HostError(ErrorCode.CANCELLED, f"{model} was unloaded meanwhile; load it and ask again.")


class WorkerAbandoned(HostError):
    """The worker was killed because one call did not end: what else it was asked for may be asked of the next."""


TERMINAL_EVENTS = ("loaded", "ended", "counted", "embedded", "failed")


class WorkerProcess(asyncio.BufferedProtocol):
    """Starts with `start`, carries out commands with `call`, ends with `close` or `kill`, or by itself.

    `on_exit` is called once, with the error that explains an unexpected end, or None after `close` and `kill`.
    """

    def __init__(self, model: str, on_exit: Callable[[HostError | None], None]) -> None:
        self._model = model
        self._on_exit = on_exit
        self._calls: dict[int, _Call] = {}
        self._next_ref = 0
        self._decoder = FrameDecoder(MAX_WORKER_BYTES)
        self._inbox = memoryview(bytearray(READ_BYTES))
        self._outbox: deque[bytes | memoryview] = deque()
        self._writable = True
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.Task[None] | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._expected = False
        self._abandoned = False
        self._loaded = False

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process; its stdout and stderr are a pipe of ours, for the log."""
        loop = asyncio.get_running_loop()
        python, environment = runtime.python()
        environment |= {"PYTHONPATH": runtime.source_root(), "PYTHONUNBUFFERED": "1"}
        with worker_link.WorkerLink() as link:
            self._process = await asyncio.create_subprocess_exec(
                *(python, "-P", "-s", "-m", "backends.worker", link.address),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=link.inherited,
                env={**os.environ, **link.environment, **environment},
                start_new_session=True,
            )
            self._watch = loop.create_task(self._watch_process(self._process))
            await loop.create_connection(lambda: self, sock=await link.connected())

    def next_ref(self) -> int:
        """A number for a command."""
        self._next_ref += 1
        return self._next_ref

    async def call(
        self, command: Command, ref: int, on_event: EventCallback | None = None, limit_s: float | None = None
    ) -> Event:
        """Send a command and wait for its last event; the others go to `on_event` as they come.

        Raises the HostError of a failed event, `backend_crashed` if the worker ends meanwhile (as WorkerAbandoned if it
        was), `cancelled` if it is closed, TimeoutError if it takes longer than limit_s (see `bound`).
        """
        if self._watch is None or self._watch.done():
            raise HostError(ErrorCode.MODEL_NOT_LOADED, f"The engine of {self._model} is not running; load it again.")
        last: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        call = self._calls[ref] = _Call(on_event, last, limit_s)
        if self.is_at(ref):
            self._start_limit()
        self.send(command)
        try:
            event = await last
        finally:
            call.on_event = None
        if isinstance(event, FailedEvent):
            raise event.as_error()
        return event

    def send(self, command: Command) -> None:
        """Send a command that has no answer, such as a cancel."""
        self._outbox.extend(frame_of(write_command(command)))
        self._write_outbox()

    def is_at(self, ref: int) -> bool:
        """Whether a call is the one that the engine is at: it takes one after another, as they were sent."""
        return next(iter(self._calls), None) == ref

    def bound(self, ref: int, seconds: float) -> None:
        """Let a call take so many seconds more, at most: not those in which the engine is at earlier ones.

        Then it fails with TimeoutError, and the process is killed for it.
        """
        call = self._calls.get(ref)
        if call is not None:
            call.limit_s = seconds
            if self.is_at(ref):
                self._start_limit()

    async def close(self) -> None:
        """End the process: its socket's end tells it to go; it is killed if it does not."""
        self._expected = True
        if self._transport is not None:
            self._transport.close()
        if self._watch is None:
            return
        done, _ = await asyncio.wait({self._watch}, timeout=EXIT_TIMEOUT_S)
        if not done:
            self.kill()
            await self._watch

    def abandon(self) -> None:
        """End the process now, for one call that does not end."""
        self._abandoned = True
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.kill()
            except ProcessLookupError:
                logger.debug("worker %s had gone already", self._process.pid)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def pause_writing(self) -> None:
        """Called by asyncio while the worker does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable = True
        self._write_outbox()

    def _write_outbox(self) -> None:
        """Write as much as the worker reads: what it does not, asyncio would copy, all else waiting meanwhile."""
        if self._transport is None or self._transport.is_closing():
            self._outbox.clear()
            return
        while self._outbox and self._writable:
            piece = self._outbox.popleft()
            if len(piece) > WRITE_BYTES:
                view = memoryview(piece)
                self._outbox.appendleft(view[WRITE_BYTES:])
                piece = view[:WRITE_BYTES]
            self._transport.write(piece)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio: where to put what has come."""
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio: it is there."""
        self._decoder.feed(self._inbox[:nbytes])
        for body in self._decoder.frames():
            if isinstance(body, FrameError):
                logger.error("worker of %s: %s", self._model, body.message)
                self.kill()
                return
            self._take(read_event(body))

    def _take(self, event: Event) -> None:
        self._loaded = self._loaded or event.event == "loaded"
        call = self._calls.get(event.ref)
        if call is None:
            return
        if event.event not in TERMINAL_EVENTS:
            if call.on_event is not None:
                call.on_event(event)
            return
        self._calls.pop(event.ref)
        self._start_limit()
        if not call.last.done():
            call.last.set_result(event)

    def _start_limit(self) -> None:
        """Begin to count the time of the call that the engine is at."""
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        call = next(iter(self._calls.values()), None)
        if call is not None and call.limit_s is not None:
            self._limit = asyncio.get_running_loop().call_later(call.limit_s, self._give_up, call)

    def _give_up(self, call: _Call) -> None:
        logger.warning("%s was at one call for more than %s s; its worker is killed", self._model, call.limit_s)
        if not call.last.done():
            call.last.set_exception(TimeoutError())
        self.abandon()

    async def _watch_process(self, process: asyncio.subprocess.Process) -> None:
        reader = asyncio.create_task(self._read_output(process))
        returncode = await process.wait()
        await asyncio.wait({reader}, timeout=LAST_OUTPUT_S)
        reader.cancel()
        ended = WorkerExit(returncode, self._loaded, list(self._output))
        if self._transport is not None:
            self._transport.close()
        error = ended.as_error(self._model)
        if self._expected:
            error = unloaded_meanwhile(self._model)
        elif self._abandoned:
            text = f"The engine of {self._model} did not end what it was at, so it was killed and is started again."
            error = WorkerAbandoned(error.code, text, **error.details)
        for call in self._calls.values():
            if not call.last.done():
                call.last.set_exception(error)
        self._calls.clear()
        self._start_limit()
        if not self._expected:
            logger.error("worker of %s ended: %s", self._model, error.message)
        self._on_exit(None if self._expected else error)

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        """Log what the engine prints, each line cut to a bound, until it has closed its outputs."""
        assert process.stdout is not None
        pending = b""
        while data := await process.stdout.read(4096):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._log_line(line)
            if len(pending) > OUTPUT_LINE_CHARACTERS:
                self._log_line(pending)
                pending = b""
        if pending:
            self._log_line(pending)

    def _log_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()[:OUTPUT_LINE_CHARACTERS]
        if text:
            self._output.append(text)
            logger.info("[%s %s] %s", self._model, self.pid, text)
