"""The OpenAPI document's schemas, made of the wire protocol's own models, so that the two cannot differ.

Above it: the routers (`takes`, `gives`) and the application (`components`). Below it: `messages`, and the answers that
only HTTP gives (`native_host.http.answer_schemas`).
"""

from collections.abc import Mapping

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from messages import job_replies, replies, requests, system
from messages.frames import JsonObject
from messages.settings import SettingsPatch
from native_host.http.answer_schemas import SHAPES

BODIES: tuple[type[BaseModel], ...] = (
    requests.Load,
    requests.Unload,
    requests.Generate,
    requests.StopGeneration,
    requests.UpdateSettings,
    requests.CountTokens,
    requests.Embed,
)
ANSWERS: tuple[type[BaseModel], ...] = (
    replies.Loaded,
    replies.Unloaded,
    replies.Stopped,
    replies.SettingsUpdated,
    replies.Stats,
    replies.BackendList,
    replies.TokenCount,
    job_replies.JobList,
    system.SystemInfo,
    *SHAPES,
)
_REF = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["status", "message", "error"],
    "properties": {
        "status": {"const": "error"},
        "message": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["code", "details"],
            "properties": {"code": {"type": "string"}, "details": {"type": "object"}},
        },
    },
}
_EVENTS = {"type": "object", "description": "Server-sent events."}
_TEXTS = {"4XX": "The request cannot be served.", "5XX": "The host could not serve it."}
ERRORS: dict[int | str, JsonObject] = {
    key: {"description": text, "content": {"application/json": {"schema": {"$ref": _REF.format(model="HttpError")}}}}
    for key, text in _TEXTS.items()
}
OPENAI_ERRORS: dict[int | str, JsonObject] = {
    key: {"description": text, "content": {"application/json": {"schema": {"$ref": _REF.format(model="OpenAIError")}}}}
    for key, text in _TEXTS.items()
}


def takes(model: type[BaseModel], *, required: bool = True, form: bool = False) -> JsonObject:
    """`openapi_extra` of a route whose body is a wire request without its envelope."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    content: JsonObject = {"application/json": {"schema": schema}}
    if form:
        content["multipart/form-data"] = {"schema": _form_schema()}
    return {"requestBody": {"required": required, "content": content}}


def gives(
    model: type[BaseModel] | None = None,
    *,
    status: int = 200,
    streams: bool = False,
    errors: Mapping[int | str, JsonObject] = ERRORS,
) -> dict[int | str, JsonObject]:
    """`responses` of a route: a result's fields, a stream of events where it `streams`, and the errors."""
    content: JsonObject = {}
    if model is not None:
        content["application/json"] = {"schema": {"$ref": _REF.format(model=model.__name__)}}
    if streams:
        content["text/event-stream"] = {"schema": _EVENTS}
    return {status: {"description": "Done.", "content": content}, **errors}


def components() -> JsonObject:
    """Every schema that `takes` and `gives` refer to, by name."""
    _, bodies = models_json_schema([(model, "validation") for model in BODIES], ref_template=_REF)
    _, answers = models_json_schema([(model, "serialization") for model in ANSWERS], ref_template=_REF)
    schemas: JsonObject = {**bodies["$defs"], **answers["$defs"], "HttpError": _ERROR}
    for model in BODIES:
        _unwrap(schemas[model.__name__], model)
    for model in ANSWERS:
        schemas[model.__name__].pop("additionalProperties", None)
    return schemas


def _unwrap(schema: JsonObject, model: type[BaseModel]) -> None:
    """Take the envelope off a request, and put in what HTTP takes beside it."""
    properties = schema["properties"]
    for name in ("id", "action", "background"):
        properties.pop(name, None)
    required = [name for name in schema.get("required", ()) if name in properties]
    if "model" in properties:
        properties["model_path"] = {"type": "string", "description": "Another spelling of model."}
    if "model" in required:
        required.remove("model")
        schema["anyOf"] = [{"required": ["model"]}, {"required": ["model_path"]}]
    schema["required"] = required
    if model is requests.Load:
        del properties["stream"]  # there is one answer
    if model is requests.Generate:
        settings = SettingsPatch.model_json_schema()["properties"]
        properties.update({name: settings[name] for name in settings if name not in properties})


def _form_schema() -> JsonObject:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": text,
            "system": text,
            "model": text,
            "settings": {"type": "string", "description": "A JSON object."},
            "chat_template_kwargs": {"type": "string", "description": "A JSON object."},
            "image": {"type": "string", "format": "binary"},
        },
    }
