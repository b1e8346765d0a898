"""Errors over HTTP: the status of each error code, and the two shapes of an error's body.

Above it: every router of `native_host.http`. Below it: `messages.errors`. Under /v1 a body has OpenAI's shape,
everywhere else that of PROTOCOL.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.responses import Response

from messages.errors import DetailValue, ErrorCode, HostError
from messages.frames import dump
from messages.replies import Failure, Success


class HttpCode(StrEnum):
    """Error codes that only HTTP has, beside those of `ErrorCode`."""

    UNAUTHORIZED = "unauthorized"
    HOST_FORBIDDEN = "host_forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"


STATUS_OF: Mapping[ErrorCode | HttpCode, int] = {
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.FRAME_TOO_LARGE: 413,
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.UNKNOWN_ACTION: 400,
    ErrorCode.UNSUPPORTED_OPTION: 400,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_LOADED: 404,
    ErrorCode.NO_ACTIVE_BACKEND: 409,
    ErrorCode.MODEL_INVALID: 422,
    ErrorCode.UNKNOWN_FORMAT: 422,
    ErrorCode.ENGINE_MISSING: 501,
    ErrorCode.ENGINE_BROKEN: 501,
    ErrorCode.OUT_OF_MEMORY: 507,
    ErrorCode.CONTEXT_OVERFLOW: 400,
    ErrorCode.BUSY: 503,
    ErrorCode.JOB_NOT_FOUND: 404,
    ErrorCode.CANCELLED: 409,
    ErrorCode.BACKEND_CRASHED: 502,
    ErrorCode.TIMEOUT: 504,
    ErrorCode.DOWNLOAD_FAILED: 502,
    ErrorCode.CHECKSUM_MISMATCH: 502,
    ErrorCode.ORIGIN_FORBIDDEN: 403,
    ErrorCode.DAEMON_UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
    HttpCode.UNAUTHORIZED: 401,
    HttpCode.HOST_FORBIDDEN: 403,
    HttpCode.NOT_FOUND: 404,
    HttpCode.METHOD_NOT_ALLOWED: 405,
    HttpCode.REQUEST_TIMEOUT: 408,
    HttpCode.UNSUPPORTED_MEDIA_TYPE: 415,
}

OPENAI_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
"""`type` of an error under /v1 by status; other 4xx are `invalid_request_error`, other 5xx `server_error`."""

OPENAI_CODES: Mapping[ErrorCode | HttpCode, str] = {
    ErrorCode.CONTEXT_OVERFLOW: "context_length_exceeded",
    ErrorCode.UNSUPPORTED_OPTION: "unsupported_parameter",
    HttpCode.UNAUTHORIZED: "invalid_api_key",
}
"""`code` of an error under /v1 where OpenAI has a word of its own, which programs match on; else it is ours."""

FINAL = frozenset({409, 501, 507})
"""Statuses that OpenAI's clients would try again, though nothing changes by itself: under /v1 they are told not to."""


class HttpError(Exception):
    """A request that is answered with an error; `fields` stand beside it in the body (a failed generation's text)."""

    def __init__(
        self,
        code: ErrorCode | HttpCode,
        message: str,
        details: Mapping[str, DetailValue] | None = None,
        fields: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.fields = dict(fields or {})
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: HostError) -> "HttpError":
        """The same error, as HTTP answers it."""
        return cls(error.code, error.message, error.details)

    @classmethod
    def of_failure(cls, failure: Failure) -> "HttpError":
        """A request's last answer, as HTTP gives it."""
        fields = failure.fields.model_dump(mode="json") if failure.fields else {}
        return cls(failure.error.code, failure.error.message, failure.error.details, fields)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS_OF[self.code]


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A body and its status, before it is written."""

    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """The response, in strict JSON whatever the content holds."""
        return json_response(self.content, self.status, self.headers)


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response in strict JSON: no NaN, no lone surrogates."""
    return Response(dump(content), status, dict(headers or {}), media_type="application/json")


def success_response(result: Success, status: int = 200) -> Response:
    """A wire result without its envelope."""
    return json_response({"status": "success", **result.fields.model_dump(mode="json")}, status)


def error_body(path: str, error: HttpError) -> JsonBody:
    """How a request to `path` is told of an error."""
    headers = {**_retry_after(error), **error.headers}
    if error.code is HttpCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if not is_openai(path):
        return JsonBody(error.status, _content(error), headers)
    if error.status in FINAL:
        headers["x-should-retry"] = "false"
    return JsonBody(error.status, _openai_content(error), headers)


def is_openai(path: str) -> bool:
    """True for the paths that speak OpenAI's language."""
    return path == "/v1" or path.startswith("/v1/")


def _content(error: HttpError) -> dict[str, Any]:
    return {
        "status": "error",
        "message": error.message,
        "error": {"code": str(error.code), "details": error.details},
        **error.fields,
    }


def _openai_content(error: HttpError) -> dict[str, Any]:
    default = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": OPENAI_TYPES.get(error.status, default),
            "param": _param(error),
            "code": OPENAI_CODES.get(error.code, str(error.code)),
        }
    }


def _param(error: HttpError) -> DetailValue:
    """The parameter that is wrong, as it was sent: the wire's `settings.stop` is OpenAI's `stop`."""
    fields = error.details.get("fields")
    if isinstance(fields, list) and fields:
        return fields[0].partition(":")[0].removeprefix("settings.")
    is_about_model = "model" in error.details or "model_path" in error.details
    return error.details.get("param", "model" if is_about_model else None)


def _retry_after(error: HttpError) -> dict[str, str]:
    """Retry-After, in whole seconds, of an error that passes by itself."""
    if error.status != 503:
        return {}
    wait_ms = error.details.get("retry_after_ms")
    seconds = wait_ms / 1000 if isinstance(wait_ms, int | float) else 1.0
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
