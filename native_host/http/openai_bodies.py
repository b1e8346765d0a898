"""Reads the body of an OpenAI endpoint, and tells OpenAPI what it may hold.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.openai_requests`. All that is wrong with a body
is told before anything is done for it, such as loading its model.
"""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from messages.errors import ErrorCode, HostError
from messages.frames import FrameError, parse_object
from messages.requests import RequestT, read_as
from messages.validation import describe
from native_host.http.errors import HttpError
from native_host.http.openai_requests import ChatBody, CompletionBody, EmbeddingBody, ResponseBody

BodyT = TypeVar("BodyT", ChatBody, CompletionBody, EmbeddingBody, ResponseBody)


async def read_body(request: Request, kind: type[BodyT], wire: type[RequestT]) -> tuple[BodyT, RequestT]:
    """A request's body, and the wire's request that says the same. HttpError if either is not valid."""
    value = parse_object(await request.body())
    if isinstance(value, FrameError):
        raise HttpError(ErrorCode.INVALID_JSON, value.message)
    try:
        body = kind.model_validate(value)
        wanted = read_as(wire, body.to_wire())
    except ValidationError as error:
        fields = describe(error)
        text = f"The request is not valid: {fields[0]}."
        raise HttpError(ErrorCode.INVALID_REQUEST, text, {"fields": fields}) from None
    except HostError as error:
        raise HttpError.of(error) from None
    return body, wanted


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The body in OpenAPI's words; a body's model has no models inside it, to which references would point nowhere."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}
