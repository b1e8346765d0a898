"""The worker's two threads: one reads commands, so that a cancel is seen at once; the other runs the engine.

The socket's end is the worker's end, whatever the engine does at that moment. Above it: `native_host.worker_process`
at the other end of the socket. Below it: `backends.worker.engine`.
"""

import faulthandler
import logging
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable

from backends.base import CancelToken
from backends.native_faults import fault_of, leave
from backends.panics import is_failure
from backends.worker.engine import Engine
from backends.worker.link import EventWriter, open_link
from messages.errors import ErrorCode, HostError
from messages.frames import MAX_WORKER_BYTES, FrameDecoder, FrameError
from messages.worker import (
    CancelCommand,
    CountCommand,
    EmbedCommand,
    FailedEvent,
    GenerateCommand,
    LoadCommand,
    read_command,
)

logger = logging.getLogger("tabagent.worker")

READ_BYTES = 1 << 16

CLOSE_TIMEOUT_S = 1.0
"""How long an engine may take to stop and free what outlives a process, in seconds."""


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


def run() -> None:
    """Run a worker on the socket that the only argument names, and end the process with it."""
    faulthandler.enable(all_threads=False)  # the other only waits; its stack would push out what was said before
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    try:
        Worker(open_link(sys.argv[1])).run()
    except Exception:
        logger.exception("the worker failed")
        os._exit(1)
    os._exit(0)
