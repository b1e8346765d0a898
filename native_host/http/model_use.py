"""Under /api/v1 too, a model that a request names is loaded by its first request.

Above it: the routers of /api/v1 that use a model. Below it: `native_host.http.client`. OpenAI's endpoints have their
own words for the same (`native_host.http.openai_models`).
"""

from fastapi import Request

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.requests import CountTokens, Embed, Generate
from native_host.http.client import ask, host_of


async def load_named(request: Request, wanted: Generate | CountTokens | Embed) -> None:
    """Load the model that a request names, unless it is loaded.

    HostError `no_active_backend` if it names none and none is loaded, HttpError if it cannot be loaded.
    """
    models, name = host_of(request).models, wanted.model
    if models.active is not None if name is None else models.has_ready(name):
        return
    if name is None:
        text = "No model is loaded. Name one in `model` (GET /api/v1/models tells what there is), or load one first."
        raise HostError(ErrorCode.NO_ACTIVE_BACKEND, text)
    await ask(request, ActionType.LOAD, implied_load(request, name))


def implied_load(request: Request, name: str) -> JsonObject:
    """The load of a model that a request uses: as it was loaded before, if it went unused or made room for another."""
    options = host_of(request).models.options_before(name).model_dump(exclude_none=True)
    return {"model": name, "options": options}
