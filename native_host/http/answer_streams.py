"""A generation as an answer: whole, or as server-sent events while it goes on. The same under /api/v1 and /v1.

Above it: `native_host.http.api_v1_generation` and `native_host.http.openai_routes`. Below it: `native_host.http.client`
(the dispatcher's answers) and `native_host.http.openai_answers` (what is said).
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request

from messages.frames import JsonObject
from messages.replies import Failure, Generated, Partial, Reply, Success, ThinkingUpdate
from native_host.http.client import generation, result_of, unless_gone
from native_host.http.errors import HttpError, error_body
from native_host.http.openai_answers import Answer, comment


async def generate(request: Request, fields: JsonObject) -> Generated:
    """Run a `generate` to its end; it is stopped if its caller goes away. HttpError if it fails."""
    return await unless_gone(request, _last(generation(request, fields)))


async def events(request: Request, replies: AsyncGenerator[Reply, None], answer: Answer) -> AsyncGenerator[bytes, None]:
    """A whole stream of a generation's replies; each piece is written at once."""
    path = request.url.path
    async with aclosing(replies):
        yield "".join(answer.begin()).encode()
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
