"""Prompts into tokens and pictures: the folder's chat template, its markers for pictures, and what it forgets.

mlx-vlm drops surplus pictures and missing markers silently (0.7.10), so both are counted here. Above it: `backend`.
Below it: `backends.chat_template`, `backends.pictures`, `preprocessing`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backends.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from backends.huggingface.files import read_json
from backends.huggingface.tokenizer_files import control_tokens, template_source, token_text
from backends.mlx_vlm.preprocessing import Preprocessor
from backends.pictures import Picture, read_pictures
from backends.shield import shield
from backends.transcript import Transcript
from messages.content import ImagePart, Message, PromptInput, TextPart
from messages.errors import ErrorCode, HostError
from messages.facts import PictureFigures
from messages.wording import plural

_TEXT_MARKERS = {"llava_qwen2": "<image>\n", "fastvlm": "<image>\n"}
"""What stands for a picture in the words of kinds whose templates take words alone (mlx-vlm 0.7.10, `prompt_utils`)."""

_NEEDLE = "needle-4711"
_PIXEL = "data:image/png;base64,"


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as the network gets it.

    text is the rendered conversation, None for a bare prompt; inputs are the pictures' arrays, by the names that
    mlx-vlm gives them; digests tell the pictures apart.
    """

    tokens: list[int]
    text: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    digests: tuple[str, ...] = ()
    pictures: tuple[PictureFigures, ...] = ()


class PromptEncoder:
    """Renders, looks at and tokenizes prompts. Raises HostError `model_invalid` if the chat template is broken."""

    def __init__(self, folder: Path, preprocessor: Preprocessor, media_tokens: frozenset[int], kind: str) -> None:
        settings = _settings(folder)
        self._preprocessor = preprocessor
        self._media_tokens = media_tokens
        self.template = ChatTemplate(
            _template_source(folder, settings) or DEFAULT_TEMPLATE,
            bos_token=token_text(settings.get("bos_token")),
            eos_token=token_text(settings.get("eos_token")),
        )
        self._marker = self._find_marker() if preprocessor.takes_pictures else ""
        self._text_marker = ""
        if preprocessor.takes_pictures and not self._marker:
            self._text_marker = _TEXT_MARKERS.get(kind, "")
            self._marker = self._text_marker.strip()
        self.control = control_tokens(read_json(folder / "tokenizer.json"))
        """Matches the spelling of any special token."""
        self._transcript = Transcript(self)
        self._digests: tuple[str, ...] = ()

    @property
    def takes_pictures(self) -> bool:
        """True if the model has a processor for pictures and its template a place for them."""
        return bool(self._marker)

    def encode(self, prompt: PromptInput) -> EncodedPrompt:
        """Tokens and pictures of a prompt.

        Raises HostError `unsupported_option` for a picture that the model cannot take and for a sound,
        `invalid_request` for a picture that is none, a bare prompt with a picture's marker, and a conversation that
        the template refuses or of which it leaves a picture out, `model_invalid` where the network would not see a
        picture. Raises EngineError.
        """
        self._refuse_media(prompt)
        if prompt.messages is None:
            return EncodedPrompt(self._encode_bare(prompt.prompt or ""))
        pictures = self._read_pictures(prompt)
        messages = [self._marked(shield(message, self.control)) for message in prompt.messages]
        text = self.template.render(messages, prompt.tools, prompt.variables)
        digests = tuple(picture.digest for picture in pictures)
        if not pictures:
            return EncodedPrompt(self._tokenize(text, digests), text)
        self._require_markers(text, len(pictures))
        tokens, inputs = self._preprocessor.prepare(text, pictures)
        self._require_media(tokens, len(pictures))
        return self._with_pictures(text, tokens, inputs, pictures)

    def forget(self) -> None:
        """Keep nothing of the last conversation."""
        self._transcript.forget()

    def remember(self, prompt: EncodedPrompt, answer: str, tokens: list[int]) -> None:
        """Keep a conversation and its answer, whose text is exactly that of its tokens."""
        if prompt.text is not None and self._media_tokens.isdisjoint(tokens):
            self._transcript.remember(prompt.text + answer, prompt.tokens + tokens)
            self._digests = prompt.digests

    def tokenize_prompt(self, text: str) -> list[int]:
        """Tokens of a rendered conversation; a start token is the chat template's business."""
        return self._preprocessor.tokenize(text, add_special_tokens=False)

    def tokenize_rest(self, text: str) -> list[int]:
        """Tokens of a text that goes on from another."""
        return self.tokenize_prompt(text)

    def _tokenize(self, text: str, digests: tuple[str, ...]) -> list[int]:
        return self._transcript.tokenize(text) if digests == self._digests else self.tokenize_prompt(text)

    def _with_pictures(
        self, text: str, tokens: list[int], inputs: dict[str, Any], pictures: Sequence[Picture]
    ) -> EncodedPrompt:
        """The last conversation's own tokens where this one goes on from it, about the same pictures.

        Not where the processor has made something of each of its own tokens, as mllama's mask of the pictures, nor
        where it alone can tell which tokens stand for pictures.
        """
        digests = tuple(picture.digest for picture in pictures)
        others = {name: value for name, value in inputs.items() if name != "attention_mask"}
        if digests == self._digests and not any(_is_of_tokens(value, len(tokens)) for value in others.values()):
            ours = self._transcript.tokenize(text)
            if self._count_media(ours) == self._count_media(tokens) > 0:
                tokens, inputs = ours, others
        return EncodedPrompt(tokens, text, inputs, digests, tuple(picture.figures for picture in pictures))

    def _marked(self, message: Message) -> Message:
        """A message with words in the places of its pictures, for a template that takes words alone."""
        if not self._text_marker or isinstance(message.content, str):
            return message
        mark = TextPart(type="text", text=self._text_marker)
        parts = [mark if isinstance(part, ImagePart) else part for part in message.content]
        return message.model_copy(update={"content": parts})

    def _read_pictures(self, prompt: PromptInput) -> tuple[Picture, ...]:
        if not prompt.has_part("image"):
            return ()
        return read_pictures(prompt, self._preprocessor.fit, self._preprocessor.most_pictures)

    def _count_media(self, tokens: Sequence[int]) -> int:
        return sum(token in self._media_tokens for token in tokens)

    def _encode_bare(self, text: str) -> list[int]:
        tokens = self._preprocessor.tokenize(text, add_special_tokens=True)
        if self._count_media(tokens):
            message = "The prompt has a picture's marker and no picture; send messages with an image part instead."
            raise HostError(ErrorCode.INVALID_REQUEST, message, fields=["prompt: has a picture's marker"])
        return tokens

    def _refuse_media(self, prompt: PromptInput) -> None:
        if prompt.has_part("audio"):
            text = "This model takes no audio; send text or pictures, or load a model that does."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["messages"])
        if prompt.has_part("image") and not self.takes_pictures:
            text = "This model takes no image; send text only, or load a model that does."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["messages"])

    def _require_markers(self, text: str, pictures: int) -> None:
        found = text.count(self._marker)
        if found != pictures:
            message = (
                f"The model's chat template has a place for {found} of the {pictures} {plural(pictures, 'picture')};"
                " put pictures into messages of the user."
            )
            fields = [f"messages: have {pictures} pictures, and places for {found}"]
            raise HostError(ErrorCode.INVALID_REQUEST, message, fields=fields)

    def _require_media(self, tokens: Sequence[int], pictures: int) -> None:
        """Where no token stands for a picture, the network would answer without having seen it."""
        if self._media_tokens and self._count_media(tokens) < pictures:
            message = (
                "The token that the model's config.json names for pictures is not the one that its processor writes:"
                " they are of two models. Get the model's folder again, complete."
            )
            raise HostError(ErrorCode.MODEL_INVALID, message)

    def _find_marker(self) -> str:
        """What the template prints for each picture, its token's spelling if that is in it; "" if it prints none.

        A few templates write something else around the first picture too (SmolVLM's, Llama 3.2 Vision's): there it is
        what they print for a second one.
        """
        picture = ImagePart.model_construct(type="image", data=_PIXEL)
        marker = self._printed_for(picture) or self._printed_for(picture, picture)
        spellings = (self._preprocessor.spell(token) for token in self._media_tokens)
        return next((spelling for spelling in spellings if spelling and spelling in marker), marker)

    def _printed_for(self, picture: ImagePart, *before: ImagePart) -> str:
        """What the template prints for a picture behind others, in front of words; "" if it prints none there."""
        words = TextPart(type="text", text=_NEEDLE)
        try:
            plain, seen = (
                self.template.render([Message.model_construct(role="user", content=[*parts, words])])
                for parts in (before, (*before, picture))
            )
        except HostError:
            return ""
        start, _, end = plain.partition(_NEEDLE)
        if not (seen.startswith(start) and seen.endswith(_NEEDLE + end)):
            return ""
        return seen.removeprefix(start).removesuffix(_NEEDLE + end).strip()


def _is_of_tokens(value: Any, tokens: int) -> bool:
    """True for an array `(1, tokens, ...)`."""
    return tuple(getattr(value, "shape", ()))[:2] == (1, tokens)


def _settings(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return read_json(file) if file.is_file() else {}


def _template_source(folder: Path, settings: dict[str, Any]) -> str | None:
    """The folder's chat template: its own file, else one in a processor's config, else the tokenizer's."""
    source = template_source(folder, {})
    for name in ("chat_template.json", "processor_config.json"):
        if source is None and (folder / name).is_file():
            found = read_json(folder / name).get("chat_template")
            source = found if isinstance(found, str) else None
    return source if source is not None else template_source(folder, settings)
