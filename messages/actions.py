"""What an extension may ask for. PROTOCOL.md has one row for each; a test holds the two together."""

from enum import StrEnum


class ActionType(StrEnum):
    """The `action` of a request."""

    PING = "ping"
    LOAD = "load"
    UNLOAD = "unload"
    GENERATE = "generate"
    STOP_GENERATION = "stop_generation"
    UPDATE_SETTINGS = "update_settings"
    GET_STATS = "get_stats"
    GET_STATE = "get_state"
    LIST_MODELS = "list_models"
    LIST_BACKENDS = "list_backends"
    GET_SYSTEM_INFO = "get_system_info"
    COUNT_TOKENS = "count_tokens"
    EMBED = "embed"
    LIST_JOBS = "list_jobs"
    ATTACH = "attach"
    READ_JOB = "read_job"
    OPEN_HTTP = "open_http"
