"""/api/v1: load, unload, models.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.client`.
"""

from fastapi import APIRouter, Request
from starlette.responses import Response

from messages.actions import ActionType
from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.replies import Loaded, Unloaded
from messages.requests import Load, Unload
from native_host.http.answer_schemas import Models, OneModel
from native_host.http.bodies import json_body
from native_host.http.client import ask
from native_host.http.errors import json_response, success_response
from native_host.http.schemas import gives, takes

router = APIRouter()


@router.post("/load", responses=gives(Loaded), openapi_extra=takes(Load))
async def load(request: Request) -> Response:
    """Load a model by name or path, and answer when it is ready."""
    return success_response(await ask(request, ActionType.LOAD, await json_body(request)))


@router.post("/unload", responses=gives(Unloaded), openapi_extra=takes(Unload, required=False))
async def unload(request: Request) -> Response:
    """Unload a model, or the active one."""
    return success_response(await ask(request, ActionType.UNLOAD, await json_body(request)))


@router.get("/models", responses=gives(Models))
async def models(request: Request) -> Response:
    """What can be loaded, and the state of what is."""
    listed, state = await _listed_and_loaded(request)
    fields = {"models": listed["models"], "loaded": state["models"], "active": state["active"]}
    return json_response({"status": "success", **fields})


@router.get("/models/{model:path}", responses=gives(OneModel))
async def model(request: Request, model: str) -> Response:
    """One model: how it can be loaded, and its state if it is."""
    listed, loaded = await _listed_and_loaded(request)
    listing = next((one for one in listed["models"] if model in (one["model"], one["model_path"])), None)
    state = next((one for one in loaded["models"] if model in (one["model"], one["model_path"])), None)
    if listing is None and state is None:
        text = f"There is no model {model[:200]!r}; GET /api/v1/models tells what there is."
        raise HostError(ErrorCode.MODEL_NOT_FOUND, text, model_path=model[:200])
    return json_response({"status": "success", "listing": listing, "state": state})


async def _listed_and_loaded(request: Request) -> tuple[JsonObject, JsonObject]:
    """The fields of `list_models` and of `get_state`."""
    listed = await ask(request, ActionType.LIST_MODELS)
    loaded = await ask(request, ActionType.GET_STATE)
    return listed.fields.model_dump(mode="json"), loaded.fields.model_dump(mode="json")
