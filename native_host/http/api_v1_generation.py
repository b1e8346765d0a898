"""/api/v1: chat/completions and completions (plain and streamed), embeddings, tokenize, halt.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.client`. The answers have the shape of OpenAI's with
the host's own fields beside it; the requests are those of PROTOCOL.md, with settings also outside of `settings`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import Response

from messages.actions import ActionType
from messages.frames import JsonObject
from messages.replies import Accepted, Failure, Generated, Partial, Reply, Stopped, Success, ThinkingUpdate, TokenCount
from messages.requests import CountTokens, Embed, Generate, StopGeneration
from native_host.http.bodies import gather_settings, invalid_field, json_body
from native_host.http.client import ask, generation, host_of, origin_of, result_of, unless_gone
from native_host.http.errors import HttpError, error_body, json_response, success_response
from native_host.http.openai_answers import ChatAnswer, CompletionAnswer, comment
from native_host.http.schemas import gives, takes

router = APIRouter()

_Answer = ChatAnswer | CompletionAnswer


@router.post("/chat/completions", responses=gives(), openapi_extra=takes(Generate))
async def chat_completions(request: Request) -> Response:
    """An answer to `messages`; with `"stream": true` as server-sent events."""
    return await _complete(request, ChatAnswer)


@router.post("/completions", responses=gives(), openapi_extra=takes(Generate))
async def completions(request: Request) -> Response:
    """What goes on from `prompt`; with `"stream": true` as server-sent events."""
    return await _complete(request, CompletionAnswer)


@router.post("/embeddings", responses=gives(), openapi_extra=takes(Embed))
async def embeddings(request: Request) -> Response:
    """A vector of each text."""
    fields = (await ask(request, ActionType.EMBED, await json_body(request))).fields.model_dump(mode="json")
    vectors = fields.pop("embeddings")
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": fields["input_tokens"], "total_tokens": fields["input_tokens"]}
    return json_response({"status": "success", "object": "list", "data": data, "usage": usage, **fields})


@router.post("/tokenize", responses=gives(TokenCount), openapi_extra=takes(CountTokens))
async def tokenize(request: Request) -> Response:
    """How many tokens a prompt is."""
    return success_response(await ask(request, ActionType.COUNT_TOKENS, await json_body(request)))


@router.post("/halt", responses=gives(Stopped), openapi_extra=takes(StopGeneration, required=False))
async def halt(request: Request) -> Response:
    """Stop a job, a model's jobs, or all of this caller's."""
    return success_response(await ask(request, ActionType.STOP_GENERATION, await json_body(request)))


async def _complete(request: Request, kind: type[_Answer]) -> Response:
    fields = gather_settings(await json_body(request))
    wants_usage = _wants_usage(fields.pop("stream_options", None))
    stream = fields.pop("stream", False)
    if not isinstance(stream, bool):
        raise invalid_field("stream", "must be true or false")
    if stream:
        return await _stream(request, fields, kind, wants_usage)
    async with aclosing(generation(request, fields)) as answers:
        result = await unless_gone(request, _last(answers))
    answer = kind(result.model).whole(result)
    own = {"status": "success", "job_id": result.job_id, "stats": result.stats.model_dump(mode="json")}
    return json_response({**answer, **own})


async def _stream(request: Request, fields: JsonObject, kind: type[_Answer], wants_usage: bool) -> Response:
    """Answer with a stream once the generation has been accepted: what is refused is an error with its own status."""
    answers = generation(request, fields)
    first = await unless_gone(request, anext(answers))
    if not isinstance(first, Accepted):
        result_of(first)
    assert isinstance(first, Accepted)
    model = host_of(request).jobs.get(first.job_id, origin_of(request)).model
    events = _events(answers, kind(model, wants_usage))
    return EventSourceResponse(events, ping=0, sep="\n", headers={"X-Job-Id": first.job_id})


async def _events(answers: AsyncGenerator[Reply, None], answer: _Answer) -> AsyncGenerator[bytes, None]:
    async with aclosing(answers):
        for event in answer.begin():
            yield event.encode()
        async for reply in answers:
            yield _told(reply, answer).encode("utf-8", "replace")


def _wants_usage(options: object) -> bool:
    match options:
        case None:
            return False
        case {"include_usage": bool(wanted), **others} if not others:
            return wanted
    raise invalid_field("stream_options", 'must be {"include_usage": true or false}')


def _told(reply: Reply, answer: _Answer) -> str:
    """What a stream says of one reply."""
    match reply:
        case Partial():
            return "".join(answer.text(reply.text))
        case ThinkingUpdate():
            return comment(reply.thinking)
        case Success(fields=Generated() as generated):
            return "".join(answer.end(generated))
        case Failure():
            return "".join(answer.fail(dict(error_body("/api/v1", HttpError.of_failure(reply)).content)))
        case _:
            return ""


async def _last(answers: AsyncGenerator[Reply, None]) -> Generated:
    async for reply in answers:
        if isinstance(reply, Success | Failure):
            fields = result_of(reply).fields
            assert isinstance(fields, Generated)
            return fields
    raise RuntimeError("a generation gave no result")
