"""Everything the host says to a client, as types; `to_wire` makes the JSON object of each.

Above it: handlers and the dispatcher. Below it: `messages.frames`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from messages.content import ToolCall
from messages.errors import HostError
from messages.facts import (
    Aggregate,
    BackendType,
    Capabilities,
    Fact,
    Figures,
    FinishReason,
    ModelState,
    TokenLogprob,
)
from messages.settings import InferenceSettings

RequestId = str | int | None


class Reply(Protocol):
    """Anything that can be written to a client."""

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""


@dataclass(frozen=True, slots=True)
class Success:
    """The last answer to a request that went well."""

    id: RequestId
    action: str
    fields: Fact

    def to_wire(self) -> dict[str, Any]:
        """The JSON object: the envelope and the action's own fields side by side."""
        envelope = {"id": self.id, "type": "result", "action": self.action, "status": "success"}
        return {**envelope, **self.fields.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class Failure:
    """The last answer to a request that failed."""

    id: RequestId
    action: str | None
    error: HostError
    fields: Fact | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object, with the code under `error` and what was done until then beside it."""
        return {
            "id": self.id,
            "type": "result",
            "action": self.action,
            "status": "error",
            "message": self.error.message,
            "error": {"code": str(self.error.code), "details": self.error.details},
            **(self.fields.model_dump(mode="json") if self.fields else {}),
        }


@dataclass(frozen=True, slots=True)
class Accepted:
    """The first answer to a streaming or background request."""

    id: RequestId
    action: str
    job_id: str

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "id": self.id,
            "type": "accepted",
            "action": self.action,
            "status": "success",
            "job_id": self.job_id,
        }


@dataclass(frozen=True, slots=True)
class Partial:
    """New text of a generation: `seq` counts partials from 0, `tokens` output tokens so far.

    logprobs has the new tokens, None if they were not asked for.
    reasoning and tool_calls are on the wire only where there are any; `first_call` is the index of the first call.
    """

    id: RequestId
    job_id: str
    seq: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    first_call: int = 0

    @property
    def is_plain(self) -> bool:
        """True if it brings text alone, as most do."""
        return not self.reasoning and not self.tool_calls and self.logprobs is None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        wire: dict[str, Any] = {
            "id": self.id,
            "type": "partial",
            "job_id": self.job_id,
            "seq": self.seq,
            "text": self.text,
            "tokens": self.tokens,
            **self._logprobs(),
        }
        if self.reasoning:
            wire["reasoning"] = self.reasoning
        if self.tool_calls:
            wire["tool_calls"] = call_deltas(self.tool_calls, self.first_call)
        return wire

    def _logprobs(self) -> dict[str, Any]:
        return {} if self.logprobs is None else {"logprobs": [one.model_dump(mode="json") for one in self.logprobs]}


def call_deltas(calls: Iterable[ToolCall], first: int) -> list[dict[str, Any]]:
    """Calls as a stream carries them, each with its index among the answer's calls."""
    return [{"index": index, **call.model_dump()} for index, call in enumerate(calls, first)]


@dataclass(frozen=True, slots=True)
class Progress:
    """A load moves on: `progress` is 0..1 or null, sizes are bytes."""

    id: RequestId
    action: str
    phase: str
    message: str
    progress: float | None = None
    loaded_bytes: int | None = None
    total_bytes: int | None = None
    job_id: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"type": "progress", **fields}


@dataclass(frozen=True, slots=True)
class ThinkingUpdate:
    """A long generation is still alive; `thinking` is worded for people and matched by old clients."""

    id: RequestId
    job_id: str
    thinking: str
    phase: str
    tokens: int
    tokens_per_second: float
    elapsed_ms: int
    eta_ms: int | None
    memory_bytes: int | None

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {"type": "thinking_update", **fields}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that answers no request."""

    event: str
    fields: Mapping[str, str | int | float | bool | None]

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        return {"id": None, "type": "event", "event": self.event, **self.fields}


class Pong(Fact):
    """Fields of `ping`; `http_url` is where the HTTP API and its dashboard are, None while they are off."""

    response: str = "pong"
    version: str
    protocol: int
    pid: int
    features: list[str]
    http_url: str | None = None


class Loaded(Fact):
    """Fields of `load`."""

    model: ModelState
    message: str


class Unloaded(Fact):
    """Fields of `unload`."""

    unloaded: list[str]
    message: str


class Generated(Fact):
    """Fields of `generate`, `attach` and (once it is over) `read_job`."""

    job_id: str
    model: str
    text: str
    finish_reason: FinishReason
    tool_calls: list[ToolCall] | None = None
    reasoning: str | None = None
    logprobs: list[TokenLogprob] | None = None
    stats: Figures


class FailedGeneration(Fact):
    """What a generation that failed leaves: its id, its text until then, and its figures."""

    job_id: str
    model: str
    text: str
    finish_reason: str | None = None
    reasoning: str | None = None
    stats: Figures


class Stopped(Fact):
    """Fields of `stop_generation`."""

    message: str
    stopped_jobs: list[str]
    stopped_backends: list[BackendType]


class SettingsUpdated(Fact):
    """Fields of `update_settings`."""

    message: str
    updated_backends: list[BackendType]
    settings: InferenceSettings


class Stats(Figures):
    """Fields of `get_stats`: the figures of one generation, and the aggregates."""

    model: str | None = None
    aggregate: Aggregate
    by_backend: dict[str, Aggregate]


class State(Fact):
    """Fields of `get_state`."""

    models: list[ModelState]
    active: str | None


class ModelListing(Fact):
    """One model that can be loaded."""

    model: str
    model_path: str
    format: str
    size_bytes: int
    backend: str | None
    fits_in_memory: bool | None
    needed_bytes: int | None
    loaded: bool
    problem: str | None = None


class ModelList(Fact):
    """Fields of `list_models`."""

    models: list[ModelListing]


class BackendListing(Fact):
    """One engine."""

    backend: str
    installed: bool
    usable: bool
    version: str | None
    devices: list[str]
    formats: list[str]
    capabilities: Capabilities
    install: str | None
    problem: str | None = None


class BackendList(Fact):
    """Fields of `list_backends`."""

    backends: list[BackendListing]


class TokenCount(Fact):
    """Fields of `count_tokens`."""

    tokens: int
    context_length: int | None


class Embedded(Fact):
    """Fields of `embed`: a vector for each text, and the places (from 0) of the texts that were cut off."""

    embeddings: list[tuple[float, ...]]
    dimensions: int
    input_tokens: int
    truncated: list[int]


class HttpOpened(Fact):
    """Fields of `open_http`: where the HTTP API is; `opened` is false if it was there already."""

    http_url: str
    wants_token: bool
    opened: bool
