"""The OpenAI endpoints under /v1: reads a body, has the dispatcher carry it out, writes the answer.

Above it: `native_host.http.app`, which includes `router`. Below it: `native_host.http.client` (the dispatcher's
answers) and the other `openai_*` modules (what is said). A model that is known but not loaded is loaded by its first
request.
"""

from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from messages.errors import ErrorCode
from messages.replies import Embedded
from messages.requests import Embed, Generate
from native_host.http.answer_schemas import (
    ChatCompletion,
    Completion,
    EmbeddingList,
    ModelObject,
    ModelObjects,
    ResponseObject,
)
from native_host.http.answer_streams import AnswerStream, generate
from native_host.http.client import ask_for
from native_host.http.errors import HttpError, json_response
from native_host.http.openai_answers import Answer, ChatAnswer, CompletionAnswer, embeddings
from native_host.http.openai_bodies import body_schema, read_body, reworded
from native_host.http.openai_models import find_model, list_models, use_model
from native_host.http.openai_prompts import generate_each
from native_host.http.openai_requests import ChatBody, CompletionBody, EmbeddingBody, ResponseBody
from native_host.http.openai_responses import ResponseAnswer
from native_host.http.schemas import OPENAI_ERRORS, gives

router = APIRouter(prefix="/v1", tags=["OpenAI"])

_gives = partial(gives, errors=OPENAI_ERRORS)


@router.get("/models", summary="What can be loaded", responses=_gives(ModelObjects))
async def get_models(request: Request) -> Response:
    """Every model that a request may name."""
    return json_response({"object": "list", "data": await list_models(request)})


@router.get("/models/{model:path}", summary="One model", responses=_gives(ModelObject))
async def get_model(request: Request, model: str) -> Response:
    """One model; 404 if there is none of that name."""
    return json_response(await find_model(request, model))


@router.post(
    "/chat/completions",
    summary="Answer a conversation",
    responses=_gives(ChatCompletion, streams=True),
    openapi_extra=body_schema(ChatBody),
)
async def create_chat_completion(request: Request) -> Response:
    """One answer, whole or as a stream of chunks."""
    body, wanted = await read_body(request, ChatBody, Generate)
    name, wanted = await use_model(request, wanted)
    return await _answer(request, wanted, ChatAnswer(name, body.include_usage), body)


@router.post(
    "/completions",
    summary="Go on from a bare prompt",
    responses=_gives(Completion, streams=True),
    openapi_extra=body_schema(CompletionBody),
)
async def create_completion(request: Request) -> Response:
    """What follows the prompt, whole or as a stream of chunks; of several prompts one after the other, and whole."""
    body, wanted = await read_body(request, CompletionBody, Generate)
    name, wanted = await use_model(request, wanted)
    answer = CompletionAnswer(name, body.include_usage)
    if len(body.prompt) == 1:
        return await _answer(request, wanted, answer, body)
    return json_response(answer.whole_of(await generate_each(request, wanted, body.prompt)))


@router.post(
    "/responses",
    summary="Answer text with text",
    responses=_gives(ResponseObject, streams=True),
    openapi_extra=body_schema(ResponseBody),
)
async def create_response(request: Request) -> Response:
    """One response, whole or as a stream of events. It is not stored."""
    body, wanted = await read_body(request, ResponseBody, Generate)
    name, wanted = await use_model(request, wanted)
    return await _answer(request, wanted, ResponseAnswer(name, body), body)


@router.post(
    "/embeddings", summary="Vectors of texts", responses=_gives(EmbeddingList), openapi_extra=body_schema(EmbeddingBody)
)
async def create_embeddings(request: Request) -> Response:
    """A vector for each text. A text that the model cannot read whole is an error, as OpenAI's API has it."""
    body, wanted = await read_body(request, EmbeddingBody, Embed)
    model, wanted = await use_model(request, wanted)
    result = (await ask_for(request, wanted)).fields
    assert isinstance(result, Embedded)
    if result.truncated:
        text = f"Text {result.truncated[0]} of input is longer than the model's context; send shorter texts."
        raise HttpError(ErrorCode.CONTEXT_OVERFLOW, text, {"param": "input"})
    if body.dimensions not in (None, result.dimensions):
        text = f"{model} makes vectors of {result.dimensions} dimensions and no others; leave dimensions out."
        raise HttpError(ErrorCode.UNSUPPORTED_OPTION, text, {"param": "dimensions"})
    return json_response(embeddings(result, model, body.encoding_format or "float"))


async def _answer(
    request: Request, wanted: Generate, answer: Answer, body: ChatBody | CompletionBody | ResponseBody
) -> Response:
    if body.stream:
        return AnswerStream(request, wanted, lambda _: answer, reword=partial(reworded, body))
    try:
        return json_response(answer.whole(await generate(request, wanted)))
    except HttpError as error:
        raise reworded(body, error) from None
