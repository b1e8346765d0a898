"""The way past the framework, for requests that need nothing of it.

Above it: `native_host.http.security.Gate`. Below it: the application, which has every route, documents it, and serves
all that has parameters in its path or query. An endpoint that takes the request alone is called from here: the
framework's middleware, routing and dependencies take as long as our own code until the model begins to read.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]
Endpoints = Mapping[tuple[str, str], Endpoint]
"""What answers a method and a path."""

ErrorAnswers = Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]
"""What tells of an error, by its nearest class; there is one for Exception, a bug."""


def endpoints_of(router: APIRouter, prefix: str = "") -> Iterator[tuple[tuple[str, str], Endpoint]]:
    """The endpoints of a router that take the request alone; `prefix` is what the router was included with."""
    for route in router.routes:
        if isinstance(route, APIRoute) and list(inspect.signature(route.endpoint).parameters) == ["request"]:
            for method in route.methods or ():
                yield (method, prefix + route.path), route.endpoint


class Direct:
    """The application, and beside it those of its endpoints that are called without it."""

    def __init__(self, app: FastAPI, endpoints: Endpoints, errors: ErrorAnswers) -> None:
        self._app = app
        self._endpoints = endpoints
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what its endpoint raises is told as the application tells it."""
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
            await response(scope, receive, send)
        except Exception as error:
            kind = next(kind for kind in type(error).__mro__ if kind in self._errors)
            answer = await self._errors[kind](request, error)
            await answer(scope, receive, send)
            if kind is Exception:  # the server logs it
                raise
