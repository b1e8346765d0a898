"""What a model is asked: chat messages with text, picture and sound parts, or a bare prompt."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from messages.data_urls import check_picture_url

PictureData = Annotated[str, AfterValidator(check_picture_url)]
Role = Literal["system", "user", "assistant", "tool"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    detail: Literal["auto", "low", "high"] = "auto"


class ImageUrlPart(_Part):
    """A picture in OpenAI's spelling; only data URLs, nothing is fetched."""

    type: Literal["image_url"]
    image_url: ImageUrl


class AudioPart(_Part):
    """A sound as a data URL."""

    type: Literal["audio"]
    data: Annotated[str, Field(pattern=r"^data:audio/")]


Part = Annotated[TextPart | ImagePart | ImageUrlPart | AudioPart, Field(discriminator="type")]


def _content_kind(value: Any) -> str:
    return "parts" if isinstance(value, list | tuple) else "string"


Content = Annotated[
    Annotated[str, Tag("string")] | Annotated[list[Part], Tag("parts"), Field(min_length=1)],
    Discriminator(_content_kind),
]


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    role: Role
    content: Content

    @property
    def text(self) -> str:
        """The text of the message: its string, or its text parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


class PromptInput(BaseModel):
    """Chat messages or a bare prompt; exactly one of the two is set."""

    model_config = ConfigDict(frozen=True)

    messages: tuple[Message, ...] | None = None
    prompt: str | None = None

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
