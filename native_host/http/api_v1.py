"""/api/v1: the actions of PROTOCOL.md over HTTP. One small router a subject.

Above it: `native_host.http.app`. Below it: `native_host.http.client`.
"""

import os

from fastapi import APIRouter, Request
from starlette.responses import Response

from native_host import runtime
from native_host.http.client import host_of
from native_host.http.errors import json_response
from native_host.http.settings import HttpSettings

router = APIRouter()


@router.get("/health")
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
