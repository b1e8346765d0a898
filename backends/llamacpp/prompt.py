"""Reads prompts: by the chat template into text, with the pictures and sounds in their places, and into tokens.

Above it: `backend` and `generation`. Below it: `places`, and `media` for a model with a projector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from backends.chat_template import ChatTemplate
from backends.llamacpp.abort import AbortFlag
from backends.llamacpp.places import Media, MediaTokenizer, refused
from backends.llamacpp.vocabulary import Vocabulary
from backends.transcript import Transcript
from messages.content import PromptInput
from messages.facts import PictureFigures

if TYPE_CHECKING:
    from backends.llamacpp.media import MediaReader
    from backends.llamacpp.multimodal import Chunk

_KINDS: tuple[Literal["image", "audio"], ...] = ("image", "audio")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the engine gets it. text is the rendered conversation, None for a bare prompt.

    In tokens, the cells of a picture or a sound are negative; `chunks` has what belongs there under the first of them.
    """

    tokens: list[int]
    text: str | None = None
    chunks: "Mapping[int, Chunk]" = field(default_factory=dict)
    pictures: tuple[PictureFigures, ...] = ()


class PromptReader:
    """Reads the prompts for one model. media is None for a model that takes text only."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, media: "MediaReader | None") -> None:
        self._vocabulary = vocabulary
        self.template = template
        self._media = media
        self._tokenizer = MediaTokenizer(vocabulary)
        self._transcript = Transcript(self._tokenizer)

    def read(self, prompt: PromptInput, flag: AbortFlag | None = None) -> Prompt:
        """A prompt's tokens, pictures and sounds.

        Raises `Aborted` between two pictures once `flag` is raised, HostError `unsupported_option` for a picture or a
        sound that the model does not take, `invalid_request` for one that cannot be read.
        """
        if prompt.messages is None:
            return Prompt(self._vocabulary.tokenize_prompt(prompt.prompt or ""))
        media = self._read_media(prompt, flag)
        messages = self._vocabulary.shield(media.place(prompt.messages))
        text = self.template.render(messages, prompt.tools, prompt.variables)
        media.require_all(text)
        self._tokenizer.media = media
        tokens = self._transcript.tokenize(text)
        self._tokenizer.media = Media()
        return Prompt(tokens, text, media.chunks, media.pictures)

    def remember(self, prompt: Prompt, answer: str, tokens: list[int]) -> None:
        """Keep a conversation and the whole answer to it, so that the next turn goes on from their tokens."""
        if prompt.text is not None:
            self._transcript.remember(prompt.text + answer, prompt.tokens + tokens)

    def forget(self) -> None:
        """Keep nothing of the last conversation."""
        self._transcript.forget()

    def _read_media(self, prompt: PromptInput, flag: AbortFlag | None) -> Media:
        wanted = [kind for kind in _KINDS if prompt.has_part(kind)]
        if not wanted:
            return Media()
        if self._media is None:
            raise refused(wanted[0])
        return self._media.read(prompt, flag)
