"""Models in OpenAI's words: the list, one of them, and the one that a request means, loaded if it was not.

Above it: `native_host.http.openai_routes`. Below it: `native_host.http.client`.
"""

import os
from typing import TypeVar

from fastapi import Request

from messages.actions import ActionType
from messages.errors import ErrorCode
from messages.frames import JsonObject
from messages.replies import Loaded, ModelList, State
from messages.requests import Embed, Generate
from native_host.http.client import ask, host_of
from native_host.http.errors import HttpError
from native_host.http.model_use import implied_load

WantedT = TypeVar("WantedT", Generate, Embed)


async def list_models(request: Request) -> list[JsonObject]:
    """What a request may name: all that is known, and what was loaded from elsewhere."""
    known = (await ask(request, ActionType.LIST_MODELS)).fields
    loaded = (await ask(request, ActionType.GET_STATE)).fields
    assert isinstance(known, ModelList)
    assert isinstance(loaded, State)
    rows = {one.model: _model(one.model, one.model_path, one.backend) for one in known.models}
    rows |= {one.model: _model(one.model, one.model_path, one.backend) for one in loaded.models}
    return list(rows.values())


async def find_model(request: Request, name: str) -> JsonObject:
    """One of the list. HttpError `model_not_found`."""
    for row in await list_models(request):
        if row["id"] == name:
            return row
    raise HttpError(ErrorCode.MODEL_NOT_FOUND, f"There is no model {name[:200]!r}; GET /v1/models lists them.")


async def use_model(request: Request, wanted: WantedT) -> tuple[str, WantedT]:
    """The name of the model that a request means, once it is loaded; without a name the one that was used last.

    It is put into the request, since a path may be spelt otherwise there.
    """
    name = await _ready_model(request, wanted.model)
    return name, wanted if name == wanted.model else wanted.model_copy(update={"model": name})


async def _ready_model(request: Request, name: str | None) -> str:
    if name is None:
        state = (await ask(request, ActionType.GET_STATE)).fields
        assert isinstance(state, State)
        if state.active is None:
            text = "No model is loaded, and none is named in `model`; GET /v1/models tells what there is."
            raise HttpError(ErrorCode.INVALID_REQUEST, text, {"param": "model"})
        return state.active
    if host_of(request).models.has_ready(name):
        return name
    loaded = (await ask(request, ActionType.LOAD, implied_load(request, name))).fields
    assert isinstance(loaded, Loaded)
    return loaded.model.model


def _model(name: str, path: str, backend: str | None) -> JsonObject:
    return {"id": name, "object": "model", "created": _changed_at(path), "owned_by": backend or "unknown"}


def _changed_at(path: str) -> int:
    """When a model's file last changed, in seconds since the epoch; 0 for one that is in no file."""
    try:
        return int(os.stat(path).st_mtime)
    except (OSError, ValueError):
        return 0
