"""Reads the body of an OpenAI endpoint, and tells OpenAPI what it may hold.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.openai_requests`. All that is wrong with a body
is told before anything is done for it, such as loading its model.
"""

from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from messages.errors import ErrorCode, HostError
from messages.frames import FrameError, JsonObject, parse_object
from messages.requests import RequestT, read_as
from messages.validation import describe
from native_host.http.errors import HttpError
from native_host.http.openai_parameters import Habits
from native_host.http.openai_requests import ChatBody, CompletionBody, EmbeddingBody, ResponseBody

BodyT = TypeVar("BodyT", ChatBody, CompletionBody, EmbeddingBody, ResponseBody)


async def read_body(request: Request, kind: type[BodyT], wire: type[RequestT]) -> tuple[BodyT, RequestT]:
    """A request's body, and the wire's request that says the same. HttpError if either is not valid."""
    value = parse_object(await request.body())
    if isinstance(value, FrameError):
        raise HttpError(ErrorCode.INVALID_JSON, value.message)
    body = _validated(kind, value)
    fields = body.to_wire()
    try:
        return body, read_as(wire, fields)
    except HostError as error:
        raise reworded(body, HttpError.of(error)) from None


def reworded(body: Habits, error: HttpError) -> HttpError:
    """An error of the wire's request, in the words of the caller who sent `body`; one that names no field is left."""
    fields = error.details.get("fields")
    if isinstance(fields, list):
        error.details["fields"] = [body.in_its_words(field) for field in fields]
        error.message = body.in_its_words(error.message)
    return error


def _validated(kind: type[BodyT], value: JsonObject) -> BodyT:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fields = describe(error)
        text = f"The request is not valid: {fields[0]}."
        raise HttpError(ErrorCode.INVALID_REQUEST, text, {"fields": fields}) from None


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The body in OpenAPI's words; a body's model has no models inside it, to which references would point nowhere."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}
