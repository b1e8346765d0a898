"""A client that talks to the host as a browser does: it starts a relay on pipes and exchanges frames with it.

Above it: the command line. Below it: `native_host.relay`, `messages.frames`. Synchronous, with a bound on every wait.
A thread reads the relay's output, so that a Ctrl-C between two messages finds the client in a state it can go on from.
"""

import contextlib
import itertools
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TypeVar

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.facts import Fact
from messages.frames import FrameDecoder, FrameError, JsonObject, encode, parse_object
from native_host.origins import CLI_ORIGIN
from native_host.reassembly import Reassembler
from native_host.runtime import source_root

OnMessage = Callable[[JsonObject], None]
_FieldsT = TypeVar("_FieldsT", bound=Fact)

_LAUNCH = "import sys; sys.path.insert(0, {root!r}); from native_host.relay import main; main()"
_READ_BYTES = 1 << 16
_CLOSE_TIMEOUT_S = 3.0


class Interrupted(Exception):
    """`interrupt` was called; the conversation with the host can go on."""


class HostGone(Exception):
    """The relay has ended; the message says what it last wrote to stderr, if anything."""


_Inbox = queue.SimpleQueue[JsonObject | HostGone | Interrupted | None]
"""Messages, then why there are no more: None for the relay's end. Simple, because a signal handler puts into it."""


def relay_command(origin: str = CLI_ORIGIN) -> list[str]:
    """The relay as a launcher starts it, from this Python and these packages."""
    return [sys.executable, "-I", "-S", "-E", "-c", _LAUNCH.format(root=source_root()), origin]


class HostClient:
    """One port to the host. Use it as a context manager; `close` ends the relay and leaves the daemon."""

    def __init__(self, command: Sequence[str] | None = None) -> None:
        """Start `command`, or the relay; it runs in a session of its own, so that a Ctrl-C does not end it."""
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            command or relay_command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._ids = itertools.count(1)
        self._inbox: _Inbox = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read_messages, args=(self._stdout.fileno(), self._inbox), daemon=True)
        self._reader.start()

    def __enter__(self) -> "HostClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, action: ActionType, **fields: object) -> str:
        """Send a request and return its id. HostGone if the relay has ended."""
        request_id = f"c{next(self._ids)}"
        try:
            self._stdin.write(encode({"id": request_id, "action": str(action), **fields}))
            self._stdin.flush()
        except OSError as error:
            raise HostGone(self._last_words()) from error
        return request_id

    def receive(self, timeout: float) -> JsonObject:
        """The next message. TimeoutError after `timeout` seconds, HostGone if the relay has ended, Interrupted."""
        try:
            message = self._inbox.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            raise TimeoutError(f"The host did not answer within {timeout:.0f} s") from None
        if isinstance(message, Interrupted):
            raise message
        if isinstance(message, HostGone) or message is None:
            self._inbox.put(message)
            raise message or HostGone(self._last_words())
        return message

    def interrupt(self) -> None:
        """Make a `receive` raise Interrupted; may be called from a signal handler."""
        self._inbox.put(Interrupted())

    def messages(self, request_id: str, timeout: float) -> Iterator[JsonObject]:
        """Yield what answers a request, its result last; `timeout` is the longest silence, in seconds.

        Raises HostError if the result is an error, and what `receive` raises.
        """
        while True:
            message = self.receive(timeout)
            if message.get("id") != request_id:
                continue
            if message.get("type") == "result" and message.get("status") == "error":
                raise error_of(message)
            yield message
            if message.get("type") == "result":
                return

    def call(
        self,
        action: ActionType,
        fields_type: type[_FieldsT],
        *,
        timeout: float = 30.0,
        on_message: OnMessage | None = None,
        **fields: object,
    ) -> _FieldsT:
        """Send a request and return its result's fields; what comes before goes to `on_message`."""
        result: JsonObject = {}
        for message in self.messages(self.send(action, **fields), timeout):
            if message.get("type") == "result":
                result = message
            elif on_message is not None:
                on_message(message)
        return read_fields(result, fields_type)

    def close(self) -> None:
        """End the relay, as a browser closes a port: its stdin, then its process. The second time changes nothing."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_CLOSE_TIMEOUT_S)
        self._stdout.close()
        self._stderr.close()

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._stderr.seek(0)
        lines = self._stderr.read()[-4096:].decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return f"The host went away ({said[-1].rstrip('.')}). Run `tabagent-host doctor`."
        return "The host went away; it was stopped or killed."


def read_fields(result: JsonObject, fields_type: type[_FieldsT]) -> _FieldsT:
    """A result's own fields; those that this version does not know are left out."""
    return fields_type.model_validate({name: result[name] for name in fields_type.model_fields if name in result})


def error_of(result: JsonObject) -> HostError:
    """The error of a result; a code that this version does not know is `internal`."""
    error = result.get("error") or {}
    code = error.get("code")
    known = ErrorCode(code) if code in set(ErrorCode) else ErrorCode.INTERNAL
    return HostError(known, str(result.get("message", "The host gave no reason.")), **error.get("details", {}))


def _read_messages(descriptor: int, inbox: "_Inbox") -> None:
    """Put every message of the relay on the queue, chunks joined, then why there are no more: None for its end."""
    decoder, reassembler = FrameDecoder(), Reassembler()
    while data := os.read(descriptor, _READ_BYTES):
        decoder.feed(data)
        for body in decoder.frames():
            message = body if isinstance(body, FrameError) else parse_object(body)
            if isinstance(message, FrameError):
                inbox.put(HostGone(f"The host sent what is not a message: {message.message}"))
                return
            if (whole := reassembler.add(message)) is not None:
                inbox.put(whole)
    inbox.put(None)
