"""Who may come in, and how much they may send: the outermost layer, in pure ASGI so that streams cost nothing more.

Above it: the HTTP server. Below it: the application. It checks, in this order, the `Host` header (a page that points
its own name at this computer), `Origin` (a page of another site), the token, the length and the content type.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from messages.errors import ErrorCode
from native_host.http.client import new_request_times
from native_host.http.errors import HttpCode, HttpError, error_body
from native_host.http.settings import HttpSettings

OPEN_PATHS = ("/", "/docs", "/openapi.json", "/favicon.ico", "/api/v1/health")
"""Paths that need no token: they tell nothing of this user."""

OPEN_FOLDERS = ("/dashboard/",)

MULTIPART_PATHS = ("/api/v1/jobs",)
"""Paths that also take a form."""

_PREFLIGHT_SECONDS = "600"


class Gate:
    """The application behind the checks."""

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, then let it through with its body bounded."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _first_of_each(scope)
        try:
            _require_one_host(scope)
            caller = self._identify(headers)
            send = _with_cors(send, headers)
            if _is_preflight(scope, headers):
                await _preflight(headers)(scope, receive, send)
                return
            self._check_token(scope["path"], headers)
            self._check_body(scope, headers)
        except HttpError as error:
            await error_body(scope["path"], error).response()(scope, receive, send)
            return
        new_request_times(scope.setdefault("state", {}), caller)
        await self._app(scope, _Body(receive, self._settings).receive, send)

    def _identify(self, headers: Mapping[str, str]) -> str:
        host = headers.get("host", "")
        if not self._settings.permits_host(host):
            text = f"The Host {host[:100]!r} is not this server's; ask 127.0.0.1, or set http.allowed_hosts."
            raise HttpError(HttpCode.HOST_FORBIDDEN, text)
        origin = headers.get("origin", "")
        caller = self._settings.caller(origin, host)
        if caller is None or (not origin and _is_foreign_page(headers)):
            text = f"Pages of {origin[:100] or 'other sites'} may not ask; http.allowed_origins lets them in."
            raise HttpError(ErrorCode.ORIGIN_FORBIDDEN, text, {"origin": origin[:100]})
        return caller

    def _check_token(self, path: str, headers: Mapping[str, str]) -> None:
        token = self._settings.token
        if token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
        if not secrets.compare_digest(given.encode(), token.encode()):
            what = "The token is wrong" if given else "A token is needed"
            text = f"{what}: send `Authorization: Bearer TOKEN`, as `tabagent-host token` prints it."
            raise HttpError(HttpCode.UNAUTHORIZED, text)

    def _check_body(self, scope: Scope, headers: Mapping[str, str]) -> None:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._settings.config.max_body_bytes:
            raise too_large(self._settings.config.max_body_bytes)
        has_body = length not in ("", "0") or "transfer-encoding" in headers
        if scope["method"] in ("POST", "PUT", "PATCH") and has_body:
            _check_encoding(headers.get("content-encoding", "identity"))
            _check_content_type(scope["path"], headers.get("content-type", ""))


class _Body:
    """A request's body, bounded in its length, in the time for which it may stand still, and in that of all of it."""

    def __init__(self, receive: Receive, settings: HttpSettings) -> None:
        self._receive = receive
        self._limit = settings.config.max_body_bytes
        self._still_s = settings.config.read_timeout_s
        self._whole_s = settings.config.body_timeout_s
        self._due = time.monotonic() + self._whole_s
        self._read = 0
        self._more = True

    async def receive(self) -> Message:
        """The next piece; HttpError if it is too much or too late."""
        if not self._more:
            return await self._receive()
        left_s = self._due - time.monotonic()
        try:
            async with asyncio.timeout(min(self._still_s, left_s)):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow(left_s) from None
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            raise too_large(self._limit)
        return message

    def _too_slow(self, left_s: float) -> HttpError:
        text = f"The request's body stood still for {self._still_s:g} s."
        if left_s < self._still_s:
            text = f"The request's body took longer than {self._whole_s:g} s (http.body_timeout_s)."
        return HttpError(HttpCode.REQUEST_TIMEOUT, text, headers={"Connection": "close"})


def too_large(limit: int) -> HttpError:
    """A body over the limit, in bytes."""
    return HttpError(ErrorCode.FRAME_TOO_LARGE, f"The body is over {limit} bytes; send less at a time.")


def _check_encoding(encoding: str) -> None:
    if encoding.strip().lower() not in ("", "identity"):
        text = f"The Content-Encoding is {encoding[:100]}; send the body as it is."
        raise HttpError(HttpCode.UNSUPPORTED_MEDIA_TYPE, text)


def _check_content_type(path: str, content_type: str) -> None:
    """JSON alone: what a page of another site can send without asking first (a form, plain text) is refused."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind == "multipart/form-data" and path in MULTIPART_PATHS):
        return
    wanted = "application/json or multipart/form-data" if path in MULTIPART_PATHS else "application/json"
    text = f"The Content-Type is {kind[:100] or 'missing'}; send {wanted}."
    raise HttpError(HttpCode.UNSUPPORTED_MEDIA_TYPE, text)


def _require_one_host(scope: Scope) -> None:
    """Of two, another server on the way might take the other one (RFC 9112, section 3.2)."""
    if sum(name == b"host" for name, _ in scope["headers"]) > 1:
        raise HttpError(ErrorCode.INVALID_REQUEST, "The request has two Host headers; send one.")


def _first_of_each(scope: Scope) -> dict[str, str]:
    """A request's headers by lower-case name, read once for all that is asked of them."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _is_foreign_page(headers: Mapping[str, str]) -> bool:
    """True for what a page of another site loads into itself (a picture, a script): it comes without an Origin."""
    return headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate"


def _is_preflight(scope: Scope, headers: Mapping[str, str]) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _preflight(headers: Mapping[str, str]) -> Response:
    """Let a page that was permitted send what headers it likes (OpenAI's client has a dozen); * leaves out one."""
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": "Authorization, *",
        "Access-Control-Max-Age": _PREFLIGHT_SECONDS,
    }
    if headers.get("access-control-request-private-network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return Response(status_code=204, headers=allowed)


def _with_cors(send: Send, headers: Mapping[str, str]) -> Send:
    """Let the page that asked, which was permitted, read the answer."""
    origin = headers.get("origin")
    if not origin:
        return send

    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            out = MutableHeaders(scope=message)
            out["Access-Control-Allow-Origin"] = origin
            out["Access-Control-Expose-Headers"] = "Retry-After, X-Job-Id"
            out.add_vary_header("Origin")
        await send(message)

    return send_with_header
