"""The application: every router in one place, and the one place that turns what they raise into an error's body.

Above it: `native_host.http.direct`. Below it: the routers, which reach the dispatcher by `native_host.http.client`.
"""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Match

from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from messages.validation import words_of
from native_host import runtime
from native_host.host import Host
from native_host.http import (
    api_v1,
    api_v1_generation,
    dashboard,
    docs_page,
    figures,
    metrics,
    openai_routes,
    overview,
    streams,
)
from native_host.http.direct import Endpoints, ErrorAnswers, endpoints_of
from native_host.http.errors import HttpCode, HttpError, error_body
from native_host.http.schemas import ERRORS, components
from native_host.http.settings import HttpSettings

logger = logging.getLogger("tabagent.http")

_METHODS = ("DELETE", "GET", "HEAD", "POST")

_CODE_OF_STATUS = {404: HttpCode.NOT_FOUND, 405: HttpCode.METHOD_NOT_ALLOWED}


def make_app(host: Host, settings: HttpSettings) -> FastAPI:
    """The application without its outermost layer, `native_host.http.security.Gate`."""
    app = FastAPI(title="TabAgent native host", version=runtime.VERSION, docs_url=None, redoc_url=None)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.state.host = host
    app.state.settings = settings
    app.include_router(openai_routes.router)
    app.include_router(api_v1.router, prefix="/api/v1")
    app.include_router(streams.router, include_in_schema=False)
    app.include_router(overview.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(dashboard.make_router())
    app.include_router(figures.router, prefix="/api/v1", responses=ERRORS)
    app.include_router(metrics.router, responses=ERRORS)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    for kind, answer in ERROR_ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


def direct_endpoints() -> Endpoints:
    """What may be called without the application: the endpoints that use a model."""
    return dict([*endpoints_of(openai_routes.router), *endpoints_of(api_v1_generation.router, "/api/v1")])


def _openapi(app: FastAPI) -> JsonObject:
    """The document, with the schemas of the wire protocol put in; made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        document.setdefault("components", {}).setdefault("schemas", {}).update(components())
        app.openapi_schema = document
    return app.openapi_schema


async def _docs(request: Request) -> Response:
    """The document as a page."""
    return HTMLResponse(docs_page.render(request.app.openapi()), headers=docs_page.HEADERS)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return error_body(request.url.path, error).response()


async def _host_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HostError)
    return await _http_error(request, HttpError.of(error))


async def _starlette_error(request: Request, error: Exception) -> Response:
    """What the framework refuses: an unknown path, a wrong method, a form that cannot be read."""
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, ErrorCode.INVALID_REQUEST)
    text = f"{request.method} {request.url.path[:200]}: {error.detail.rstrip('.')}. See /docs."
    allowed = {"Allow": ", ".join(_methods(request))} if code is HttpCode.METHOD_NOT_ALLOWED else {}
    return await _http_error(request, HttpError(code, text, headers={**(error.headers or {}), **allowed}))


def _methods(request: Request) -> list[str]:
    """What a path may be asked with; the framework knows of the first route that has the path alone.

    HEAD goes with GET (see `native_host.http.heads`).
    """
    served = {name for name in _METHODS if any(_serves(route, request, name) for route in request.app.routes)}
    return [name for name in _METHODS if name in served or (name == "HEAD" and "GET" in served)]


def _serves(route: BaseRoute, request: Request, method: str) -> bool:
    return route.matches({**request.scope, "method": method})[0] is Match.FULL


async def _validation_error(request: Request, error: Exception) -> Response:
    """A path's or query's parameter is wrong."""
    assert isinstance(error, RequestValidationError)
    fields = [f"{'.'.join(str(part) for part in item['loc'][1:])}: {words_of(item)}" for item in error.errors()]
    text = f"The request is not valid: {fields[0]}."
    return await _http_error(request, HttpError(ErrorCode.INVALID_REQUEST, text, {"fields": fields}))


async def _gone(request: Request, error: Exception) -> Response:
    """The caller has gone; nobody reads this."""
    return Response(status_code=400)


async def _bug(request: Request, error: Exception) -> Response:
    """A bug; the server logs its traceback."""
    text = f"The host failed ({type(error).__name__}). This is a bug; its log has the details."
    return await _http_error(request, HttpError(ErrorCode.INTERNAL, text))


ERROR_ANSWERS: ErrorAnswers = {
    HttpError: _http_error,
    HostError: _host_error,
    HTTPException: _starlette_error,
    RequestValidationError: _validation_error,
    ClientDisconnect: _gone,
    Exception: _bug,
}
"""What tells of an error, by its nearest class."""
