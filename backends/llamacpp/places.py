"""Where pictures and sounds stand in a prompt: in its text as places, in its tokens as cells.

Above it: `prompt` and `media`. A picture's place in the text is its digest between two marks. So a text that
begins as the last one did has the same pictures in the same places.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.llamacpp.vocabulary import Vocabulary
from messages.content import Message, TextPart
from messages.errors import ErrorCode, HostError
from messages.facts import PictureFigures

if TYPE_CHECKING:
    from backends.llamacpp.multimodal import Chunk

MARK = f"\ufdd1{secrets.token_hex(8)}"
"""A noncharacter of Unicode, and what no caller can know; a digest between two of them is a picture's place."""

_PLACE = re.compile(f"{MARK}([0-9a-f]{{64}}){MARK}")


@dataclass(frozen=True, slots=True)
class Medium:
    """A picture or a sound as a part of a prompt: tokens and cells, and what belongs into the cells."""

    tokens: list[int]
    chunks: "dict[int, Chunk]"


@dataclass(slots=True)
class Media:
    """The pictures and sounds of one prompt, by digest, and the digests in order of appearance."""

    by_digest: dict[str, Medium] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    pictures: tuple[PictureFigures, ...] = ()

    @property
    def chunks(self) -> "dict[int, Chunk]":
        """What belongs into cells, by the first of them."""
        return {first: chunk for medium in self.by_digest.values() for first, chunk in medium.chunks.items()}

    def place(self, messages: Sequence[Message]) -> list[Message]:
        """Messages of text alone, each picture or sound a place in it."""
        digests = iter(self.digests)
        return [message.model_copy(update={"content": "".join(_texts(message, digests))}) for message in messages]

    def require_all(self, text: str) -> None:
        """Raise HostError `unsupported_option` if a chat template left out or repeated a picture."""
        if sorted(_PLACE.findall(text)) != sorted(self.digests):
            problem = "The model's chat template does not take pictures or sounds where this conversation has them."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, problem, fields=["messages"])


class MediaTokenizer:
    """A vocabulary for text that has places of pictures and sounds in it; `media` says which."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.media = Media()

    @property
    def control(self) -> re.Pattern[str]:
        """Matches the spelling of any control token."""
        return self._vocabulary.control

    def tokenize_prompt(self, text: str) -> list[int]:
        """Tokens of a whole prompt, with the cells of its pictures and sounds."""
        first = _PLACE.search(text)
        if first is None:
            return self._vocabulary.tokenize_prompt(text)
        return self._vocabulary.tokenize_prompt(text[: first.start()]) + self.tokenize_rest(text[first.start() :])

    def tokenize_rest(self, text: str) -> list[int]:
        """Tokens of a text that goes on from another."""
        tokens: list[int] = []
        for place, part in enumerate(_PLACE.split(text)):
            tokens += self.media.by_digest[part].tokens if place % 2 else self._vocabulary.tokenize_rest(part)
        return tokens


def _texts(message: Message, digests: Iterator[str]) -> Iterator[str]:
    """The text of a message and the places in it."""
    if isinstance(message.content, str):
        yield message.content
        return
    for part in message.content:
        yield part.text if isinstance(part, TextPart) else f"{MARK}{next(digests)}{MARK}"


def refused(kind: str) -> HostError:
    """The error for a picture or a sound that the model does not take."""
    text = f"This model takes no {kind}; send text only, or load a model that does."
    return HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["messages"])
