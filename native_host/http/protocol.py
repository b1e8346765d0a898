"""One HTTP connection, bounded: how many there are, how long a request's head may take, how long a reader may sleep.

Above it: `native_host.http.server`. Below it: uvicorn's protocol, which knows none of these bounds.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from weakref import proxy

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from messages.errors import ErrorCode
from messages.frames import dump
from native_host.config_sections import HttpConfig
from native_host.http.errors import HttpError, error_body

MAX_HEAD_BYTES = 1 << 16
"""How long a request's line and headers may be together."""

MAX_DROPPED_BYTES = 64 * 2**20
"""Most of a body that is read though its request was refused already: who still sends it reads the answer then."""

READ_BYTES = 1 << 18
"""Bytes a read: a picture comes in few."""

_ABSOLUTE_TARGET = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)")
"""A request target in absolute form, such as programs send that take this host for a proxy."""

LINGER_S = 1.0
"""How long a connection that is one too many is kept so that it reads its answer, in seconds."""

MAX_LINGERING = 64
"""Such connections that are kept, or half as many as there may be others; more are closed at once."""


class Surplus(asyncio.Protocol):
    """A connection that is one too many: it is told so, what it sends is dropped, and it is closed."""

    def __init__(self, lingering: "set[Surplus]", most: int, answer: bytes) -> None:
        self._lingering = lingering
        self._most = most
        self._answer = answer
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio. The answer is read only if the other end's data is too, hence the linger."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._answer)
        if len(self._lingering) >= self._most:
            transport.close()
            return
        self._lingering.add(self)
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._lingering.discard(self)
        if self._timer is not None:
            self._timer.cancel()


def surplus_answer(max_connections: int) -> bytes:
    """The whole HTTP answer to a connection that is one too many."""
    text = f"{max_connections} connections are open already; try again in a moment."
    return _last_answer(HttpError(ErrorCode.BUSY, text, {"retry_after_ms": 5000}))


def _last_answer(error: HttpError) -> bytes:
    """The whole HTTP answer to a connection that has come to no request, and is closed."""
    body = error_body("/", error)
    content = dump(body.content).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
    lines = [f"{name}: {value}" for name, value in {**headers, **body.headers}.items()]
    status = HTTPStatus(error.status)
    return "\r\n".join([f"HTTP/1.1 {status.value} {status.phrase}", *lines, "", ""]).encode() + content


class _Deadline:
    """One timer that can be set again and cleared."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, then: Callable[[], None]) -> None:
        """Call `then` in `seconds`, and not what was set before."""
        self.clear()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def clear(self) -> None:
        """Call nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Unchunked:
    """The answer to a client of HTTP/1.0, which knows no chunks: one of unknown length ends with the connection.

    uvicorn writes chunks to it as to any other; here it is told of each piece's length instead.
    Source: https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._write: Callable[[Any], Awaitable[None]] = cycle.send
        self._knows_length = False

    async def send(self, message: Any) -> None:
        """Called by the application."""
        if message["type"] == "http.response.start":
            self._knows_length = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if not self._knows_length:
                self._cycle.chunked_encoding = False
        elif not self._knows_length:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._write(message)


class _Unasked:
    """The answer to a client that asks before it sends its body: if it is not told to go on, the connection ends.

    It may send the body or leave it out then, and what comes next could be either the body or another request.
    Source: https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._write: Callable[[Any], Awaitable[None]] = cycle.send

    async def send(self, message: Any) -> None:
        """Called by the application."""
        if self._cycle.waiting_for_100_continue and self._cycle.more_body:
            self._cycle.keep_alive = False
        await self._write(message)


def _break_off(cycle: RequestResponseCycle) -> None:
    """Close the connection amid an answer; what the application still says to it is dropped, its end too."""
    if not cycle.response_complete:
        cycle.disconnected = True
        cycle.transport.close()


class BoundedProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """A connection with a timer for what it owes: a request's head, or the reading of what was written to it.

    The parser, unlike the rest, sets no bound to a head's length. What comes is read into a buffer of the server's:
    asyncio's own costs three system calls and a page fault each time.
    """

    def __init__(self, bounds: "Bounds", **keywords: Any) -> None:
        super().__init__(**keywords)
        self._bounds = bounds
        self._head = _Deadline()
        self._reading = _Deadline()
        self._head_bytes = self._dropped_bytes = 0
        self._is_amid_message = False
        self._unanswered: deque[RequestResponseCycle] = deque()
        """Requests in the order in which they came: the first is being answered, the others wait."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by asyncio: only now, as many protocols are made before the first of them is told so."""
        if len(self.connections) >= self._bounds.config.max_connections:
            surplus = self._bounds.surplus()
            transport.set_protocol(surplus)
            surplus.connection_made(transport)
            return
        super().connection_made(transport)
        self._head.set(self._bounds.config.read_timeout_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._head.clear()
        self._reading.clear()
        for cycle in self._unanswered:  # uvicorn tells the last one alone, and the first would go on for nobody
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio: where to put what has come. It is used up before anything else is read."""
        return self._bounds.inbox

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio: it is there."""
        self.data_received(bytes(self._bounds.inbox[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """What has come: the head is there once a request runs. The next one's may come while it does."""
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._awaits_head:
            self._head.clear()
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's head is over {MAX_HEAD_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """Called by the parser: a head is there to its end."""
        self._head_bytes = self._dropped_bytes = 0
        self._heed_target()
        super().on_headers_complete()
        self._is_amid_message = True
        self.scope["state"]["break_off"] = partial(_break_off, proxy(self.cycle))  # the cycle holds the scope already
        self._unanswered.append(self.cycle)
        if self.parser.get_http_version() == "1.0":
            self.cycle.send = _Unchunked(self.cycle).send  # type: ignore[method-assign]
        elif self.expect_100_continue:
            self.cycle.send = _Unasked(self.cycle).send  # type: ignore[method-assign]

    def _heed_target(self) -> None:
        """Put the host that an absolute target names into Host, whatever stands there (RFC 9112, section 3.2.2)."""
        target = _ABSOLUTE_TARGET.match(self.url)
        for place, (name, _) in enumerate(self.headers):
            if target is not None and name == b"host":
                self.headers[place] = name, target["authority"]

    def on_body(self, body: bytes) -> None:
        """Called by the parser: this was no head, and no trailer either."""
        self._head_bytes = 0
        if self._awaits_head:
            self._dropped_bytes += len(body)
            if self._dropped_bytes > MAX_DROPPED_BYTES:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser: a request is there to its end."""
        self._is_amid_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn: what came is no HTTP request, or one that is not read to its end.

        Behind a request that is still being answered it only ends the connection: nothing can be said in between. So
        it does amid the body of one that was answered already: another answer would pass for the next request's.
        """
        if self._awaits_body or (self._awaits_head and not self._is_amid_message):
            self.transport.write(_last_answer(HttpError(ErrorCode.INVALID_REQUEST, msg)))
        self.transport.close()

    @property
    def _awaits_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _awaits_body(self) -> bool:
        """True while the one request that there is has not come to its end, and nothing has been said to it."""
        return len(self._unanswered) == 1 and self.cycle.more_body and not self.cycle.response_started

    def on_response_complete(self) -> None:
        """Called by uvicorn: the next request's head is awaited, unless it came before this answer's end."""
        self._unanswered.popleft()
        super().on_response_complete()
        if self._awaits_head:
            self._head.set(self._bounds.config.read_timeout_s, self.transport.close)

    def pause_writing(self) -> None:
        """Called by asyncio while the other end does not read."""
        super().pause_writing()
        self._reading.set(self._bounds.config.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._reading.clear()
        super().resume_writing()


class Bounds:
    """What all connections of one server share."""

    def __init__(self, config: HttpConfig) -> None:
        self.config = config
        self.inbox = memoryview(bytearray(READ_BYTES))
        self._answer = surplus_answer(config.max_connections)
        self._lingering: set[Surplus] = set()

    def surplus(self) -> Surplus:
        """The protocol of a connection that is one too many."""
        most = min(MAX_LINGERING, self.config.max_connections // 2)
        return Surplus(self._lingering, most, self._answer)


def protocol_factory(config: HttpConfig) -> Callable[..., asyncio.Protocol]:
    """What uvicorn makes a protocol with for each connection."""
    return partial(BoundedProtocol, Bounds(config))
