"""What a model is asked: chat messages with text, picture and sound parts and tool calls, or a bare prompt."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from messages.data_urls import check_picture_url
from messages.tools import Tool

PictureData = Annotated[str, AfterValidator(check_picture_url)]
Role = Literal["system", "user", "assistant", "tool"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class TextPart(_Part):
    """Text."""

    type: Literal["text"]
    text: str


class ImagePart(_Part):
    """A picture as a data URL."""

    type: Literal["image"]
    data: PictureData


class ImageUrl(_Part):
    """The data URL of an `image_url` part."""

    url: PictureData
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImageUrlPart(_Part):
    """A picture in OpenAI's spelling; only data URLs, nothing is fetched."""

    type: Literal["image_url"]
    image_url: ImageUrl


class AudioPart(_Part):
    """A sound as a data URL."""

    type: Literal["audio"]
    data: Annotated[str, Field(pattern=r"^data:audio/")]


Part = Annotated[TextPart | ImagePart | ImageUrlPart | AudioPart, Field(discriminator="type")]


def _content_kind(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "parts"
    return "string" if isinstance(value, str) else None


Content = Annotated[
    Annotated[str, Tag("string")] | Annotated[list[Part], Tag("parts"), Field(min_length=1)],
    Discriminator(
        _content_kind,
        custom_error_type="string_or_array",
        custom_error_message="must be a string or an array",
    ),
]


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call, out of their JSON text; no text is none. ValueError if it is no JSON object."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant) if text.strip() else {}
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None
    if not isinstance(value, dict):
        raise ValueError("must be the JSON text of an object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _refuse_arguments(text: str) -> str:
    try:
        read_arguments(text)
    except ValueError:
        raise ValueError("must be the JSON text of an object") from None
    return text


class CalledFunction(_Part):
    """The function that a model calls; arguments are JSON text."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: Annotated[str, AfterValidator(_refuse_arguments)]


class ToolCall(_Part):
    """A call that a model makes, in OpenAI's shape; `id` pairs it with the message of its result."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Literal["function"] = "function"
    function: CalledFunction


def _without_index(value: Any) -> Any:
    """A call as a stream tells it has its place in the answer, which its place in the list says too."""
    if isinstance(value, dict) and type(value.get("index")) in (int, type(None)):
        return {name: one for name, one in value.items() if name != "index"}
    return value


class Message(BaseModel):
    """One turn of a conversation.

    tool_calls and reasoning are those of an earlier answer (role assistant), which may have no other content;
    tool_call_id and name say whose result a tool's message is.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    role: Role
    content: Content
    reasoning: str | None = None
    tool_calls: list[Annotated[ToolCall, BeforeValidator(_without_index)]] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_calls_alone(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("tool_calls") and data.get("content") is None:
            return {**data, "content": ""}
        return data

    @model_validator(mode="after")
    def _refuse_foreign_fields(self) -> "Message":
        for name in ("tool_calls", "reasoning"):
            if getattr(self, name) is not None and self.role != "assistant":
                raise ValueError(f"{name} belongs to messages of the role assistant")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError("tool_call_id belongs to messages of the role tool")
        return self

    @property
    def text(self) -> str:
        """The text of the message: its string, or its text parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class PromptInput(BaseModel):
    """Chat messages or a bare prompt; exactly one of the two is set.

    tools are what the chat template is told of, variables what the request gives to it beside.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    tools: tuple[Tool, ...] = ()
    variables: dict[str, Any] = {}

    @property
    def has_media(self) -> bool:
        """True if any message carries a picture or a sound."""
        return any(not isinstance(part, TextPart) for message in self.messages or () for part in _parts(message))

    def has_part(self, kind: Literal["image", "audio"]) -> bool:
        """True if any message carries a picture (in either spelling) or a sound."""
        if kind == "image":
            return any(True for _ in picture_urls(self.messages or ()))
        return any(isinstance(part, AudioPart) for message in self.messages or () for part in _parts(message))


def picture_urls(messages: Sequence[Message]) -> Iterator[tuple[str, str]]:
    """Each picture's field, such as `messages[0].content[1].data`, and its data URL, in the order of the messages."""
    for place, message in enumerate(messages):
        for index, part in enumerate(_parts(message)):
            if isinstance(part, ImagePart):
                yield f"messages[{place}].content[{index}].data", part.data
            elif isinstance(part, ImageUrlPart):
                yield f"messages[{place}].content[{index}].image_url.url", part.image_url.url


def _parts(message: Message) -> Sequence[Part]:
    return [] if isinstance(message.content, str) else message.content
