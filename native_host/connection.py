"""One client: frames in, one task a request, frames out. `stop_generation` is read while a generation runs.

Above it: the daemon's listener, or the stdio loop. Below it: `native_host.dispatcher`. It knows frames and hello, and
nothing of what requests mean.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from messages.errors import ErrorCode, HostError
from messages.frames import FrameDecoder, FrameError, encode, encode_outbound, parse_object
from messages.replies import Event, Failure, Reply
from native_host.browser_pipes import BrowserPipes, open_pipes, use_pipes
from native_host.dispatcher import answers_at_once, dispatch
from native_host.hello import Hello, HelloAnswer
from native_host.host import Host

logger = logging.getLogger("tabagent.connection")

HELLO_TIMEOUT_S = 5.0
LAST_ANSWERS_S = 0.5
"""How long answers that are nearly ready may still be written after the client closed its end, in seconds."""

READ_BYTES = 1 << 16
"""Bytes a read: into a buffer of ours, since asyncio's own costs three system calls and a page fault each time."""

PAUSE_AT = 512
RESUME_AT = 256
"""Requests of one client that run at once before no more are read, and at which reading goes on."""


class Connection(asyncio.BufferedProtocol):
    """A client from its first byte to its last. `receive_hello` decides who it is; without it, it is `origin`."""

    def __init__(
        self,
        host: Host,
        on_closed: "Callable[[Connection], None]",
        receive_hello: Callable[[Hello], HelloAnswer] | None = None,
        origin: str = "",
    ) -> None:
        self.origin = origin
        self._host = host
        self._on_closed = on_closed
        self._receive_hello = receive_hello
        self._decoder = FrameDecoder(host.config.daemon.max_frame_bytes)
        self._inbox = memoryview(bytearray(READ_BYTES))
        self._transport: asyncio.WriteTransport | BrowserPipes | None = None
        self._reader: asyncio.ReadTransport | BrowserPipes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._chunking = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False
        self._beginning = 0
        self._takes_more = asyncio.Event()
        self._ahead = 0
        self._answered = False
        self._reading = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio; on a socket the same transport reads and writes."""
        if isinstance(transport, asyncio.ReadTransport):
            self._reader = transport
        if isinstance(transport, asyncio.WriteTransport):
            self.attach_writer(transport)
        if self._receive_hello is not None:
            self._timer = asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, self.close)

    def attach_writer(self, transport: asyncio.WriteTransport) -> None:
        """Where to write."""
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio: where to put what has come on a socket."""
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio: it is there."""
        self.data_received(self._inbox[:nbytes])
        if self._ahead > 0:
            self._ahead -= nbytes
            self._read_pipes()

    def data_received(self, data: bytes | memoryview) -> None:
        """Called by asyncio for what has come on a pipe."""
        self._decoder.feed(data)
        for item in self._decoder.frames():
            if isinstance(item, FrameError):
                self._refuse(item)
                return
            self._take(item)

    def eof_received(self) -> bool:
        """The client sends no more: quick answers may still be written, streams are left to `attach`."""
        self.note_truncation()
        if not self._tasks:
            return False
        self._timer = asyncio.get_running_loop().call_later(LAST_ANSWERS_S, self.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio: end the tasks; their jobs go on, each for its grace."""
        if exc is not None:
            logger.info("%s: %s", self.origin or "a client", exc)
        self._stop_timer()
        self.close()
        self._writable.set()
        for task in self._tasks:
            task.cancel()
        self._on_closed(self)

    def pause_writing(self) -> None:
        """Called by asyncio while the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    async def send(self, reply: Reply) -> None:
        """Write a reply, in chunks if it is large, once the client reads; the chunks of two replies never mix."""
        await self._wait_writable()
        frames = encode_outbound(reply.to_wire())
        if len(frames) == 1:
            self._write(frames[0])
        else:
            async with self._chunking:
                await self._write_all(frames)
        self._answered = True

    def tell(self, event: Event) -> None:
        """Write an event; only to a client that was answered before, as a one-shot takes its first message for all."""
        if self._answered:
            for data in encode_outbound(event.to_wire()):
                self._write(data)

    def note_truncation(self) -> None:
        """Log if the client closed in the middle of a message."""
        if self._decoder.truncated:
            logger.warning("%s closed in the middle of a message", self.origin or "a client")

    @property
    def is_writing(self) -> bool:
        """Whether an answer waits for the client to read, or is written in part."""
        return bool(self._tasks) and (self._chunking.locked() or not self._writable.is_set())

    async def finish_answers(self) -> None:
        """Wait a moment for the answers that are nearly ready."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_ANSWERS_S)

    def close(self) -> None:
        """Close once what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    async def _write_all(self, frames: list[bytes]) -> None:
        for data in frames:
            await self._wait_writable()
            self._write(data)

    async def _wait_writable(self) -> None:
        """Wait until the client reads; of many that wait, each looks again, as the first may fill the pipe again."""
        while not self._writable.is_set():
            await self._writable.wait()

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _take(self, body: bytes | bytearray) -> None:
        arrived_at = time.monotonic()
        message = parse_object(body)
        if isinstance(message, FrameError):
            self._refuse(message)
        elif self._receive_hello is not None:
            self._greet(message)
        else:
            self._start(message, arrived_at)

    def _start(self, message: dict[str, Any], arrived_at: float) -> None:
        if self._asked:
            self._takes_more.set()
        self._asked = True
        work = dispatch(self._host, self, message, arrived_at, self._takes_more)
        if self._beginning == 0 and self._writable.is_set() and answers_at_once(message):
            _run_at_once(work)
            return
        self._start_task(work)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        self._beginning += 1
        loop.call_soon(self._note_begun)
        if self._reading and len(self._tasks) >= PAUSE_AT and self._reader is not None:
            self._reader.pause_reading()
            self._reading = False

    def _note_begun(self) -> None:
        """Called after the first step of a task: what comes now does not overtake it any more."""
        self._beginning -= 1

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("answering %s failed", self.origin, exc_info=error)
        if not self._reading and len(self._tasks) <= RESUME_AT and self._reader is not None:
            self._reader.resume_reading()
            self._reading = True
        if self._timer is not None and not self._tasks and self._receive_hello is None:
            self.close()

    def _refuse(self, error: FrameError) -> None:
        failure = Failure(None, None, HostError(ErrorCode(error.code), error.message))
        self._write(encode(failure.to_wire()))
        if error.fatal or self._receive_hello is not None:
            self.close()

    def _greet(self, message: dict[str, Any]) -> None:
        assert self._receive_hello is not None
        hello = Hello.read(message)
        answer = self._receive_hello(hello)
        descriptors = self._open_pipes(hello) if answer.status == "ok" else None
        if descriptors is not None:
            self._start_task(self._take_over(descriptors, answer, hello.ahead))
        else:
            self._write(encode(answer.to_wire()))
        if answer.status != "ok":
            self.close()
            return
        self._stop_timer()
        self._receive_hello = None
        self.origin = hello.origin

    def _open_pipes(self, hello: Hello) -> tuple[int, int] | None:
        """The browser's pipes, if the relay offers them and they can be opened from here."""
        if hello.pipes is None or not isinstance(self._transport, asyncio.Transport):
            return None
        return open_pipes(self._transport.get_extra_info("socket"), hello.pipes)

    async def _take_over(self, descriptors: tuple[int, int], answer: HelloAnswer, ahead: int) -> None:
        """Talk to the browser itself from now on; the relay's socket is kept for its end.

        The `ahead` bytes that the relay has read before come on the socket, and before what is in the pipe.
        """
        link = self._transport
        assert isinstance(link, asyncio.Transport)
        pipes = await use_pipes(self, descriptors, link)
        link.write(encode(replace(answer, pipes=True).to_wire()))
        self._transport, self._ahead = pipes, ahead
        self._read_pipes()

    def _read_pipes(self) -> None:
        """Begin to read the browser's pipe, if all that comes before it has come."""
        if self._ahead <= 0 and isinstance(self._transport, BrowserPipes):
            self._reader = self._transport
            if self._reading:
                self._reader.resume_reading()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _run_at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing without a task, which costs as much again as the answer itself."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("a request that waits for nothing has waited")
