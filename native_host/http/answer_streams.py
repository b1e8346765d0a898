"""A generation as an answer: whole, or as server-sent events while it goes on. The same under /api/v1 and /v1.

Above it: `native_host.http.api_v1_generation` and `native_host.http.openai_routes`. Below it: `native_host.http.client`
(the dispatcher's answers) and `native_host.http.openai_answers` (what is said).
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from messages.frames import JsonObject
from messages.replies import Failure, Generated, Partial, Reply, Success, ThinkingUpdate
from native_host.http.client import generation, result_of, unless_gone
from native_host.http.errors import HttpError, error_body
from native_host.http.openai_answers import Answer, comment

_SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def generate(request: Request, fields: JsonObject) -> Generated:
    """Run a `generate` to its end; it is stopped if its caller goes away. HttpError if it fails."""
    return await unless_gone(request, _last(generation(request, fields)))


async def events(request: Request, replies: AsyncGenerator[Reply, None], answer: Answer) -> AsyncGenerator[bytes, None]:
    """A whole stream of a generation's replies; each piece is written at once."""
    yield "".join(answer.begin()).encode()
    async for piece in _pieces(request, replies, answer):
        yield piece


class BegunStream(StreamingResponse):
    """A stream of which the first reply is there already: it goes out before anything else is set up."""

    def __init__(self, request: Request, replies: AsyncGenerator[Reply, None], answer: Answer, first: Reply) -> None:
        super().__init__(_pieces(request, replies, answer), headers=_SSE_HEADERS, media_type="text/event-stream")
        self._first = ("".join(answer.begin()) + _told(first, answer, request.url.path)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by Starlette."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Called by Starlette: the rest."""
        async for piece in self.body_iterator:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _pieces(
    request: Request, replies: AsyncGenerator[Reply, None], answer: Answer
) -> AsyncGenerator[bytes, None]:
    path = request.url.path
    async with aclosing(replies):
        async for reply in replies:
            if text := _told(reply, answer, path):
                yield text.encode()


def generated(result: Success) -> Generated:
    """The fields of a generation that went well."""
    assert isinstance(result.fields, Generated)
    return result.fields


async def _last(replies: AsyncGenerator[Reply, None]) -> Generated:
    async with aclosing(replies):
        async for reply in replies:
            if isinstance(reply, Success | Failure):
                return generated(result_of(reply))
    raise RuntimeError("a generation gave no result")


def _told(reply: Reply, answer: Answer, path: str) -> str:
    match reply:
        case Partial():
            return "".join(answer.partial(reply))
        case ThinkingUpdate():
            return comment(reply.thinking)
        case Success():
            return "".join(answer.end(generated(reply)))
        case Failure():
            return "".join(answer.fail(dict(error_body(path, HttpError.of_failure(reply)).content)))
        case _:
            return ""
