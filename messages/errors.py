"""The errors that reach a client: a closed set of codes, and the one exception that carries them."""

from enum import StrEnum

DetailValue = str | int | float | bool | None | list[str]


class ErrorCode(StrEnum):
    """The `error.code` of a reply. Append only: software outside this repository matches on these."""

    INVALID_JSON = "invalid_json"
    FRAME_TOO_LARGE = "frame_too_large"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_ACTION = "unknown_action"
    UNSUPPORTED_OPTION = "unsupported_option"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_LOADED = "model_not_loaded"
    NO_ACTIVE_BACKEND = "no_active_backend"
    MODEL_INVALID = "model_invalid"
    UNKNOWN_FORMAT = "unknown_format"
    ENGINE_MISSING = "engine_missing"
    ENGINE_BROKEN = "engine_broken"
    OUT_OF_MEMORY = "out_of_memory"
    CONTEXT_OVERFLOW = "context_overflow"
    BUSY = "busy"
    JOB_NOT_FOUND = "job_not_found"
    CANCELLED = "cancelled"
    BACKEND_CRASHED = "backend_crashed"
    TIMEOUT = "timeout"
    DOWNLOAD_FAILED = "download_failed"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    ORIGIN_FORBIDDEN = "origin_forbidden"
    DAEMON_UNAVAILABLE = "daemon_unavailable"
    INTERNAL = "internal"


class HostError(Exception):
    """An expected failure with its code, one sentence for a person, and facts for a program.

    Raised anywhere below the dispatcher or the worker's loop, which turn it into an error reply. Every other
    exception is a bug: it is logged with its traceback and answered as `internal`.
    """

    def __init__(self, code: ErrorCode, message: str, **details: DetailValue) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: dict[str, DetailValue] = details
