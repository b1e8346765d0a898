"""/api/v1: what tells about the host: health, backends, system-info, params, stats.

Above it: `native_host.http.api_v1`. Below it: `native_host.http.client`.
"""

import os

from fastapi import APIRouter, Request
from starlette.responses import Response

from messages.actions import ActionType
from messages.facts import Figures
from messages.replies import BackendList, SettingsUpdated, Stats
from messages.requests import UpdateSettings
from messages.system import SystemInfo
from native_host import runtime
from native_host.http.answer_schemas import FiveFigures, Health, Params
from native_host.http.bodies import json_body
from native_host.http.client import ask, host_of, origin_of
from native_host.http.errors import json_response, success_response
from native_host.http.schemas import gives, takes
from native_host.http.settings import HttpSettings

FIGURES = {"time_to_first_token", "tokens_per_second", "input_tokens", "output_tokens", "total_time"}
"""What `stats` answers with, and nothing else."""

router = APIRouter()


@router.get("/health", responses=gives(Health))
async def health(request: Request) -> Response:
    """Whether the host is there, and whether it wants a token."""
    settings: HttpSettings = request.app.state.settings
    active = host_of(request).models.active
    return json_response(
        {
            "status": "ok",
            "version": runtime.VERSION,
            "protocol": runtime.PROTOCOL,
            "pid": os.getpid(),
            "token_required": settings.token is not None,
            "model_loaded": active.source.name if active is not None else None,
        }
    )


@router.get("/backends", responses=gives(BackendList))
async def backends(request: Request) -> Response:
    """Which engines there are."""
    return success_response(await ask(request, ActionType.LIST_BACKENDS))


@router.get("/system-info", responses=gives(SystemInfo))
async def system_info(request: Request) -> Response:
    """What machine this is."""
    return success_response(await ask(request, ActionType.GET_SYSTEM_INFO))


@router.get("/params", responses=gives(Params))
async def get_params(request: Request, model: str | None = None) -> Response:
    """The settings that this caller's next generation starts from."""
    host = host_of(request)
    chosen = host.models.find(model) if model is not None else host.models.active
    settings = host.settings.in_force(origin_of(request), chosen.source.name if chosen else "")
    return json_response({"status": "success", "settings": settings.model_dump(mode="json")})


@router.post("/params", responses=gives(SettingsUpdated), openapi_extra=takes(UpdateSettings))
async def set_params(request: Request) -> Response:
    """Change the settings that this caller's next generations start from; `settings` may be left away around them."""
    body = await json_body(request)
    names = ("model", "model_path", "settings")
    beside = {name: value for name, value in body.items() if name not in names}
    if "settings" not in body:
        body = {"settings": beside, **{name: body[name] for name in names if name in body}}
    return success_response(await ask(request, ActionType.UPDATE_SETTINGS, body))


@router.get("/stats", responses=gives(FiveFigures))
async def stats(request: Request, model: str | None = None) -> Response:
    """The figures of the active model's running or last generation."""
    fields = (await ask(request, ActionType.GET_STATS, _of_model(model))).fields
    return json_response(fields.model_dump(mode="json", include=FIGURES))


@router.get("/stats/aggregate", responses=gives(Stats))
async def aggregate(request: Request, model: str | None = None) -> Response:
    """Counts, sums and percentiles of the active model's generations, or of those of `model`; by backend, of all."""
    answer = await ask(request, ActionType.GET_STATS, {**_of_model(model), "scope": "aggregate"})
    fields = answer.fields.model_dump(mode="json", exclude=set(Figures.model_fields))
    return json_response({"status": "success", **fields})


def _of_model(model: str | None) -> dict[str, str]:
    return {} if model is None else {"model": model}
