"""Every error code has its HTTP status."""

from messages.errors import ErrorCode
from native_host.http.errors import STATUS_OF, HttpCode, HttpError, error_body


def test_every_code_has_a_status_that_is_an_errors() -> None:
    assert set(STATUS_OF) == {*ErrorCode, *HttpCode}
    assert all(400 <= status < 600 for status in STATUS_OF.values())


def test_busy_says_when_to_come_back_in_whole_seconds() -> None:
    body = error_body("/api/v1/load", HttpError(ErrorCode.BUSY, "Busy.", {"retry_after_ms": 1200}))
    assert (body.status, body.headers["Retry-After"]) == (503, "2")
