"""/api/v1: chat/completions and completions (plain and streamed), embeddings, tokenize, halt.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.client`. The answers have the shape of OpenAI's with
the host's own fields beside it; the requests are those of PROTOCOL.md, with settings also outside of `settings`.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from messages.actions import ActionType
from messages.replies import Stopped, TokenCount
from messages.requests import CountTokens, Embed, Generate, StopGeneration, read_as
from native_host.http.answer_schemas import ChatCompletionWithStats, CompletionWithStats, EmbeddingListWithFacts
from native_host.http.answer_streams import AnswerStream, generate
from native_host.http.bodies import gather_settings, invalid_field, json_body
from native_host.http.client import ask, ask_for
from native_host.http.errors import json_response, success_response
from native_host.http.model_use import load_named
from native_host.http.openai_answers import ChatAnswer, CompletionAnswer
from native_host.http.schemas import gives, takes

router = APIRouter()

_Answer = ChatAnswer | CompletionAnswer


@router.post("/chat/completions", responses=gives(ChatCompletionWithStats, streams=True), openapi_extra=takes(Generate))
async def chat_completions(request: Request) -> Response:
    """An answer to `messages`; with `"stream": true` as server-sent events."""
    return await _complete(request, ChatAnswer)


@router.post("/completions", responses=gives(CompletionWithStats, streams=True), openapi_extra=takes(Generate))
async def completions(request: Request) -> Response:
    """What goes on from `prompt`; with `"stream": true` as server-sent events."""
    return await _complete(request, CompletionAnswer)


@router.post("/embeddings", responses=gives(EmbeddingListWithFacts), openapi_extra=takes(Embed))
async def embeddings(request: Request) -> Response:
    """A vector of each text."""
    wanted = read_as(Embed, await json_body(request))
    await load_named(request, wanted)
    fields = (await ask_for(request, wanted)).fields.model_dump(mode="json")
    vectors = fields.pop("embeddings")
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": fields["input_tokens"], "total_tokens": fields["input_tokens"]}
    return json_response({"status": "success", "object": "list", "data": data, "usage": usage, **fields})


@router.post("/tokenize", responses=gives(TokenCount), openapi_extra=takes(CountTokens))
async def tokenize(request: Request) -> Response:
    """How many tokens a prompt is."""
    wanted = read_as(CountTokens, await json_body(request))
    await load_named(request, wanted)
    return success_response(await ask_for(request, wanted))


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
    wanted = read_as(Generate, {**fields, "stream": True})
    await load_named(request, wanted)
    if stream:
        return AnswerStream(request, wanted, lambda job: kind(job.model, wants_usage), begins_at_once=True)
    result = await generate(request, wanted)
    answer = kind(result.model).whole(result)
    own = {"status": "success", "job_id": result.job_id, "stats": result.stats.model_dump(mode="json")}
    return json_response({**answer, **own})


def _wants_usage(options: object) -> bool:
    match options:
        case None:
            return False
        case {"include_usage": bool(wanted), **others} if not others:
            return wanted
    raise invalid_field("stream_options", 'must be {"include_usage": true or false}')
