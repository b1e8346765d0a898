"""What a user may set, section by section: each value with its default, its range and what it means.

Above it: `native_host.config`, which reads the values, and `native_host.config_toml`, which writes them out.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from messages.frames import MAX_INBOUND_BYTES
from messages.settings import InferenceSettings, SettingsPatch
from native_host.origins import CLI_ORIGIN, HTTP_ORIGIN

_DEFAULTS = InferenceSettings()

Seconds = Annotated[float, Field(ge=0)]


FOREVER_S = 10 * 365 * 86_400.0
"""What an endless time is where it must have an end, in seconds."""


def absolute(path: Path) -> Path:
    """The path, without ~; ValueError if it is not absolute, or none that a system can be asked for."""
    if "\0" in str(path):
        raise ValueError("must have no NUL character")
    try:
        expanded = path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"begins with {path.parts[0]}, and there is no such user here") from error
    if not expanded.is_absolute():
        raise ValueError("must be an absolute path, or one that begins with ~")
    return expanded


ModelFolder = Annotated[Path, AfterValidator(absolute)]


def _page(text: str) -> str:
    if re.fullmatch(r"null|[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@*]+/?", text) is None:
        raise ValueError("must be the origin of one page, such as http://localhost:3000, without a path or *")
    return text


def _host_name(text: str) -> str:
    if re.fullmatch(r"[^\s:/?#@*\[\]]+|[0-9a-fA-F:.]+", text) is None:
        raise ValueError("must be a name or an address alone, without a port, brackets or *")
    return text


Page = Annotated[str, AfterValidator(_page)]
HostName = Annotated[str, AfterValidator(_host_name)]


class Section(BaseModel):
    """Base of the sections: closed, so that a misspelt name is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DaemonConfig(Section):
    """How the daemon lives, and what one client may ask of it."""

    idle_exit_s: Seconds = Field(
        default=300.0, description="Seconds without a client, a job or a loaded model after which the daemon leaves."
    )
    max_clients: int = Field(default=256, ge=1, le=65_536, description="Most ports that are served at the same time.")
    max_frame_bytes: int = Field(
        default=MAX_INBOUND_BYTES,
        ge=65_536,
        le=MAX_INBOUND_BYTES,
        description="Largest message that is accepted, in bytes; 67108864 (64 MiB) at most.",
    )
    orphan_grace_s: Seconds = Field(
        default=60.0, description="Seconds that a generation goes on for after its last listener has gone."
    )
    finished_job_ttl_s: Seconds = Field(default=600.0, description="Seconds that a finished one can still be read.")
    queue_limit: int = Field(
        default=16, ge=0, description="Generations that may wait for one model; then it is `busy`."
    )


class ModelsConfig(Section):
    """Which models there are, and how long they stay in memory."""

    folders: list[ModelFolder] = Field(
        default=[], description='Folders to look for models in, beside the one in the data folder: ["~/models"].'
    )
    keep_alive_s: Seconds = Field(
        default=900.0,
        description="Seconds that an unused model stays loaded; 0: none at all, inf: for ever.",
    )
    max_loaded: int = Field(default=4, ge=1, description="Most models that are loaded at the same time.")
    default: str = Field(
        default="demo", min_length=1, description="The model of `tabagent-host chat` if none is named."
    )


class WorkerConfig(Section):
    """The process that runs an engine."""

    load_timeout_s: Seconds = Field(default=600.0, description="Seconds that loading a model may take.")
    stop_timeout_s: Seconds = Field(
        default=5.0, description="Seconds after which a worker that does not stop when told to is killed."
    )
    count_timeout_s: Seconds = Field(
        default=120.0,
        gt=0,
        description="Seconds that counting a prompt's tokens may take, or embeddings that nobody waits for any more;"
        " then the worker is killed.",
    )


class LogConfig(Section):
    """The log files."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least that is logged: DEBUG, INFO, WARNING or ERROR."
    )
    max_bytes: int = Field(default=5_000_000, ge=10_000, description="Size at which a log file is rotated, in bytes.")
    backups: int = Field(default=3, ge=0, le=100, description="Rotated log files that are kept.")
    log_prompts: bool = Field(default=False, description="Whether prompts and answers may appear in the logs.")


class StatsConfig(Section):
    """The statistics that are kept across restarts."""

    enabled: bool = Field(default=True, description="Whether figures are kept on disk; no text ever is.")
    retention_days: int = Field(default=90, ge=1, le=36_500, description="Days after which a generation's figures go.")


class OriginsConfig(Section):
    """Which extensions may talk to the host, beside what each browser's manifest already says."""

    allowed: list[str] = Field(
        default=[],
        description='Only these: ["chrome-extension://<id>/", "add-on@example.org"]. '
        "Empty: every origin that the browser vouches for.",
    )
    blocked: list[str] = Field(default=[], description="Never these.")

    def permits(self, origin: str) -> bool:
        """Whether an origin may be served; a slash at its end does not count. Terminal and HTTP are, unless blocked."""
        name = origin.rstrip("/")
        if name in {entry.rstrip("/") for entry in self.blocked}:
            return False
        return (
            not self.allowed
            or name in (CLI_ORIGIN, HTTP_ORIGIN)
            or name in {entry.rstrip("/") for entry in self.allowed}
        )


class HttpConfig(Section):
    """The HTTP API, for programs that are not extensions: off unless asked for here or by `serve --http`."""

    enabled: bool = Field(default=False, description="Whether the daemon offers it, and then never leaves by itself.")
    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 127.0.0.1 is this computer alone."
    )
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0: any that is free.")
    token: bool = Field(default=True, description="Whether requests need the token that `tabagent-host token` prints.")
    allowed_origins: list[Page] = Field(
        default=[], description='Pages that may ask, by origin: ["http://localhost:3000"]. Every other is refused.'
    )
    allowed_hosts: list[HostName] = Field(
        default=[], description="Names of this computer that a Host header may have, beside localhost and http.host."
    )
    max_connections: int = Field(default=512, ge=1, le=65_536, description="Most connections; then 503 is answered.")
    max_body_bytes: int = Field(
        default=MAX_INBOUND_BYTES,
        ge=1024,
        le=MAX_INBOUND_BYTES,
        description="Largest body that is accepted, in bytes; 67108864 (64 MiB) at most.",
    )
    read_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds that a request's head, or each next piece of its body, may take."
    )
    body_timeout_s: float = Field(default=120.0, gt=0, description="Seconds that a request's whole body may take.")
    write_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds after which a connection that does not read its answer is closed."
    )


class DefaultsConfig(Section):
    """The settings of a generation for which the client sets nothing."""

    temperature: float = Field(default=_DEFAULTS.temperature, ge=0, le=2, description="0 (greedy) to 2.")
    top_p: float = Field(default=_DEFAULTS.top_p, gt=0, le=1, description="Above 0, to 1 (off).")
    top_k: int = Field(default=_DEFAULTS.top_k, ge=0, le=2**31 - 1, description="Tokens to choose from; 0 is off.")
    min_p: float = Field(default=_DEFAULTS.min_p, ge=0, le=1, description="0 (off) to 1.")
    max_tokens: int = Field(default=_DEFAULTS.max_tokens, ge=1, le=2**31 - 1, description="Most tokens of an answer.")
    repeat_penalty: float = Field(default=_DEFAULTS.repeat_penalty, gt=0, le=10, description="1 is off.")
    presence_penalty: float = Field(default=_DEFAULTS.presence_penalty, ge=-2, le=2, description="-2 to 2; 0 is off.")
    frequency_penalty: float = Field(default=_DEFAULTS.frequency_penalty, ge=-2, le=2, description="-2 to 2; 0 is off.")
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1, description="Left out: a fresh one each time.")
    stop: list[str] = Field(default=[], max_length=64, description="Strings that end an answer.")
    thinking_update_interval: float = Field(
        default=_DEFAULTS.thinking_update_interval,
        ge=0,
        le=3600,
        description="Seconds between the signs of life of a long generation; 0 is off.",
    )

    def settings(self) -> InferenceSettings:
        """The settings that a client's own are laid over."""
        return InferenceSettings().patched(SettingsPatch(**self.model_dump()))
