"""What the daemon and a model's worker say to each other: commands down, events up, one frame each.

`ref` pairs an event with the command that caused it. Above it: `native_host.models` on one side, `backends.worker`
on the other. Below it: `messages.frames`.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from messages.attachments import attach, detach
from messages.content import PromptInput, ToolCall
from messages.errors import ErrorCode, HostError
from messages.facts import BackendType, Capabilities, FinishReason, PictureFigures, TokenLogprob
from messages.options import LoadOptions, ResponseFormat
from messages.settings import InferenceSettings
from messages.tools import ToolChoice

TOKEN_VARIABLE = "TABAGENT_WORKER_TOKEN"
"""The environment variable with what a worker sends first over TCP, so that no other process passes for it."""


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Command(_Frame):
    """Made in the daemon's event loop alone, and so its validator when the first one is."""

    model_config = ConfigDict(defer_build=True)


class LoadCommand(_Command):
    """Load the model at `path` (absolute) with a backend of the registry.

    general names the options that are asked for as far as the backend and the model can do them. cache_path is a folder
    of ours, absolute, for what a backend measures once and remembers; null remembers nothing.
    """

    op: Literal["load"] = "load"
    ref: int
    backend: str
    path: str
    options: LoadOptions
    general: tuple[str, ...] = ()
    cache_path: str | None = None


class GenerateCommand(_Command):
    """Generate; answered by prefill and tokens events, then by one ended or failed event.

    top_logprobs is how many likeliest tokens to tell beside each output token; null tells no probabilities.
    tool_choice None is "auto"; it counts where the prompt has tools.
    """

    op: Literal["generate"] = "generate"
    ref: int
    prompt: PromptInput
    settings: InferenceSettings
    response_format: ResponseFormat | None = None
    top_logprobs: int | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True


class CancelCommand(_Command):
    """Cancel the generation that `ref` names; one that is over is not an error."""

    op: Literal["cancel"] = "cancel"
    ref: int


class CountCommand(_Command):
    """Count a prompt's tokens; answered by a counted event."""

    op: Literal["count"] = "count"
    ref: int
    prompt: PromptInput


class EmbedCommand(_Command):
    """Make vectors of texts; answered by vectors events, then by one embedded event.

    normalize None is as the model's folder says.
    """

    op: Literal["embed"] = "embed"
    ref: int
    texts: tuple[str, ...]
    normalize: bool | None = None


Command = Annotated[
    LoadCommand | GenerateCommand | CancelCommand | CountCommand | EmbedCommand, Field(discriminator="op")
]


class LoadProgressEvent(_Frame):
    """Loading moves on; `progress` is 0..1 or null, total_bytes the size of what is read."""

    event: Literal["load_progress"] = "load_progress"
    ref: int
    phase: str
    progress: float | None
    message: str
    total_bytes: int | None = None

    @property
    def loaded_bytes(self) -> int | None:
        """How much of it is read, as far as that is known."""
        total, progress = self.total_bytes, self.progress
        return None if total is None or progress is None else int(total * progress)


class LoadedEvent(_Frame):
    """The model is ready; `unsupported_settings` and `response_formats` are its backend's.

    options are those that were honoured. dtype and notes are those of `ModelState`.
    """

    event: Literal["loaded"] = "loaded"
    ref: int
    backend_type: BackendType
    options: LoadOptions
    context_length: int | None
    size_bytes: int | None
    device: str | None
    dtype: str | None = None
    notes: tuple[str, ...] = ()
    capabilities: Capabilities
    unsupported_settings: tuple[str, ...]
    response_formats: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PrefillEvent:
    """`done` of `total` prompt tokens are in the KV cache, `cached` of them from before."""

    event: ClassVar[str] = "prefill"
    ref: int
    done: int
    total: int
    cached: int

    def to_json(self) -> bytes:
        """The JSON object."""
        numbers = (self.ref, self.done, self.total, self.cached)
        return b'{"event":"prefill","ref":%d,"done":%d,"total":%d,"cached":%d}' % numbers


@dataclass(frozen=True, slots=True)
class TokensEvent:
    """New text and how many tokens it took; logprobs has these tokens, if they were asked for.

    Reasoning comes before the text, tool calls after it.
    """

    event: ClassVar[str] = "tokens"
    ref: int
    text: str
    count: int
    logprobs: tuple[TokenLogprob, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def to_json(self) -> bytes:
        """The JSON object, with `reasoning` and `more` only where there is any."""
        text = f'{{"event":"tokens","ref":{self.ref},"text":{_quoted(self.text)},"count":{self.count}'
        if self.reasoning:
            text += f',"reasoning":{_quoted(self.reasoning)}'
        if self.logprobs or self.tool_calls:
            text += f',"more":{_More(logprobs=self.logprobs, tool_calls=self.tool_calls).model_dump_json()}'
        return f"{text}}}".encode()


class _More(_Frame):
    """What few tokens bring along."""

    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


class EndedEvent(_Frame):
    """A generation is over. Counts are the engine's own, decode_s the seconds from its first token to its last.

    pictures are those of the request, in their order. What is not known is None, as after a cancel before the engine
    began.
    """

    event: Literal["ended"] = "ended"
    ref: int
    finish_reason: FinishReason
    input_tokens: int | None
    output_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int = 0
    decode_s: float | None = None
    pictures: tuple[PictureFigures, ...] | None = ()


class CountedEvent(_Frame):
    """A prompt's tokens."""

    event: Literal["counted"] = "counted"
    ref: int
    tokens: int
    context_length: int | None


class VectorsEvent(_Frame):
    """The vectors of the next texts, in their order; many come in pieces, so that no frame is too large."""

    event: Literal["vectors"] = "vectors"
    ref: int
    vectors: tuple[tuple[float, ...], ...]


class EmbeddedEvent(_Frame):
    """All vectors were sent; `truncated` has the places (from 0) of the texts that were cut off."""

    event: Literal["embedded"] = "embedded"
    ref: int
    dimensions: int
    input_tokens: int
    truncated: tuple[int, ...]


class FailedEvent(_Frame):
    """A command failed."""

    event: Literal["failed"] = "failed"
    ref: int
    code: ErrorCode
    message: str
    details: dict[str, Any] = {}

    def as_error(self) -> HostError:
        """The error to raise in the daemon."""
        return HostError(self.code, self.message, **self.details)


RareEvent = Annotated[
    LoadProgressEvent | LoadedEvent | EndedEvent | CountedEvent | VectorsEvent | EmbeddedEvent | FailedEvent,
    Field(discriminator="event"),
]
Event = RareEvent | PrefillEvent | TokensEvent

_LATER = ConfigDict(defer_build=True)
"""Each side reads one of the two, and makes its validator when the first frame comes."""

_COMMANDS: TypeAdapter[Command] = TypeAdapter(Command, config=_LATER)
_RARE_EVENTS: TypeAdapter[RareEvent] = TypeAdapter(RareEvent, config=_LATER)

_quoted = json.encoder.encode_basestring_ascii

_END = b"\0"
"""Ends a command's JSON, in which it cannot be, and the lengths of what is attached to it, if anything is."""


def write_command(command: Command) -> list[bytes | memoryview]:
    """A command for `read_command`, in pieces: its JSON, and what is attached to it (see `messages.attachments`)."""
    if not isinstance(command, GenerateCommand | CountCommand) or not command.prompt.has_media:
        return [_COMMANDS.dump_json(command)]
    prompt, payloads = detach(command.prompt)
    lengths = ",".join(str(len(payload)) for payload in payloads).encode()
    return [_COMMANDS.dump_json(command.model_copy(update={"prompt": prompt})) + _END + lengths + _END, *payloads]


def read_command(body: bytes | bytearray) -> Command:
    """Read what `write_command` wrote, its pieces joined."""
    end = body.find(_END)
    if end < 0:
        return _COMMANDS.validate_json(body)
    command = _COMMANDS.validate_json(body[:end])
    assert isinstance(command, GenerateCommand | CountCommand)
    start = body.index(_END, end + 1) + 1
    payloads = []
    for length in map(int, body[end + 1 : start - 1].split(b",")):
        payloads.append(memoryview(body)[start : start + length])
        start += length
    return command.model_copy(update={"prompt": attach(command.prompt, payloads)})


def write_event(event: Event) -> bytes:
    """An event as JSON, for `read_event`."""
    if isinstance(event, PrefillEvent | TokensEvent):
        return event.to_json()
    return event.model_dump_json().encode("utf-8", "replace")


def read_event(body: bytes | bytearray) -> Event:
    """Read what `write_event` wrote.

    What stands between the engine's first token and its reader does without pydantic, whose code and data have left
    the processor's caches when a step of the engine is over: it takes 0.2 ms there, and 2 us in a loop.
    """
    if body.startswith(b'{"event":"tokens"'):
        return _read_tokens(json.loads(body.decode()))
    if body.startswith(b'{"event":"prefill"'):
        fields = json.loads(body.decode())
        return PrefillEvent(fields["ref"], fields["done"], fields["total"], fields["cached"])
    return _RARE_EVENTS.validate_json(body)


def _read_tokens(fields: dict[str, Any]) -> TokensEvent:
    text, reasoning = fields["text"], fields.get("reasoning", "")
    if "more" not in fields:
        return TokensEvent(fields["ref"], text, fields["count"], reasoning=reasoning)
    more = _More.model_validate(fields["more"])
    return TokensEvent(fields["ref"], text, fields["count"], more.logprobs, reasoning, more.tool_calls)
