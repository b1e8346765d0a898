"""Requests that pass the framework by: which these are, and that their errors are told as the application's are."""

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import PlainTextResponse, Response

from messages.errors import ErrorCode, HostError
from native_host.http.app import ERROR_ANSWERS, direct_endpoints
from native_host.http.direct import Direct, endpoints_of

router = APIRouter(prefix="/v1")


@router.post("/plain")
async def plain(request: Request) -> Response:
    return PlainTextResponse(await request.body())


@router.post("/of/{name}")
async def of_name(request: Request, name: str) -> Response:
    return PlainTextResponse(name)


@router.get("/full")
async def full(request: Request) -> Response:
    raise HostError(ErrorCode.BUSY, "Too many wait; try again.", retry_after_ms=3000)


@router.get("/bug")
async def bug(request: Request) -> Response:
    raise KeyError("nothing of that name")


def ask(method: str, path: str, body: bytes | None = None, *, raises: bool = True) -> httpx.Response:
    app = FastAPI()
    app.include_router(router)
    direct = Direct(app, dict(endpoints_of(router)), ERROR_ANSWERS)

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(direct, raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(answer())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"])
def test_what_uses_a_model_is_called_directly(path: str) -> None:
    assert ("POST", path) in direct_endpoints()
    assert ("POST", path.replace("/v1", "/api/v1")) in direct_endpoints() or path == "/v1/responses"


def test_what_has_parameters_is_left_to_the_application() -> None:
    assert {path for _, path in dict(endpoints_of(router))} == {"/v1/plain", "/v1/full", "/v1/bug"}


def test_an_endpoint_has_its_request_and_the_others_are_served_too() -> None:
    assert ask("POST", "/v1/plain", b"said").text == "said"
    assert ask("POST", "/v1/of/names").text == "names"
    assert ask("POST", "/v1/none").status_code == 404


def test_an_error_is_told_in_its_own_words() -> None:
    answer = ask("GET", "/v1/full")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["error"]["message"] == "Too many wait; try again."


def test_a_bug_is_told_to_the_caller_and_to_the_server() -> None:
    answer = ask("GET", "/v1/bug", raises=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    with pytest.raises(KeyError):
        ask("GET", "/v1/bug")
