"""Prompts into tokens: the folder's chat template, and the start token where a bare prompt needs one.

Above it: `backends.onnx.backend`. Below it: `backends.chat_template` and the engine's tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backends.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from backends.huggingface.files import read_json
from backends.huggingface.tokenizer_files import control_tokens, template_source, token_text
from backends.onnx.interface import TextTokenizer
from backends.shield import SHIELD, shield
from backends.transcript import Transcript
from messages.content import PromptInput
from messages.errors import ErrorCode, HostError


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as the model gets it. text is the rendered conversation, None for a bare prompt."""

    tokens: list[int]
    text: str | None


class PromptEncoder:
    """Renders and tokenizes prompts. Raises HostError `model_invalid` if the chat template is broken."""

    def __init__(
        self, folder: Path, description: dict[str, Any], tokenizer: TextTokenizer, bos_token: int | None
    ) -> None:
        settings = read_json(folder / "tokenizer_config.json")
        self._tokenizer = tokenizer
        self.template = ChatTemplate(
            template_source(folder, settings) or DEFAULT_TEMPLATE,
            bos_token=token_text(settings.get("bos_token")),
            eos_token=token_text(settings.get("eos_token")),
        )
        adds_start = settings.get("add_bos_token", _adds_start(description))
        self._start = [bos_token] if adds_start and bos_token is not None else []
        self.control = control_tokens(description)
        """Matches the spelling of any special token."""
        self._transcript = Transcript(self)

    def encode(self, prompt: PromptInput) -> EncodedPrompt:
        """Tokens of a prompt.

        Raises HostError `unsupported_option` for pictures and sounds, `invalid_request` for a NUL
        character (the engine's tokenizer takes it for the end) and for a conversation that the template refuses.
        """
        refuse_other_media(prompt)
        if prompt.messages is None:
            tokens = [*self._start, *self.tokenize_rest(prompt.prompt or "")]
            return EncodedPrompt(tokens, None)
        messages = [shield(message, self.control) for message in prompt.messages]
        text = self.template.render(messages, prompt.tools, prompt.variables)
        return EncodedPrompt(self._transcript.tokenize(text), text)

    def forget(self) -> None:
        """Keep nothing of the last conversation."""
        self._transcript.forget()

    def remember(self, text: str, tokens: list[int]) -> None:
        """Keep a conversation whose text is exactly that of its tokens."""
        self._transcript.remember(text, tokens)

    def tokenize_prompt(self, text: str) -> list[int]:
        """Tokens of a rendered conversation; a start token is the chat template's business."""
        return self.tokenize_rest(text)

    def tokenize_rest(self, text: str) -> list[int]:
        """Tokens of a text; a `SHIELD` is where two parts of it must not be read as one token."""
        if "\0" in text:
            message = "The onnx backend cannot read the character NUL (U+0000); leave it out."
            raise HostError(ErrorCode.INVALID_REQUEST, message, fields=["messages or prompt: must not contain U+0000"])
        return [token for part in text.split(SHIELD) if part for token in self._tokenizer.encode(part)]


def refuse_other_media(prompt: PromptInput) -> None:
    """Raise HostError `unsupported_option` for pictures and sounds."""
    kinds: Sequence[Literal["image", "audio"]] = ("image", "audio")
    for kind in kinds:
        if prompt.has_part(kind):
            text = f"This model takes no {kind}; send text only, or load a model that does."
            raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=["messages"])


def _adds_start(description: dict[str, Any]) -> bool:
    """True if tokenizer.json puts a special token before a text (Hugging Face tokenizers, TemplateProcessing)."""
    processor = description.get("post_processor")
    chain = processor.get("processors") if isinstance(processor, dict) else None
    entries = chain if isinstance(chain, list) else [processor]
    templates = [entry.get("single") for entry in entries if isinstance(entry, dict)]
    return any(
        isinstance(template, list) and template and isinstance(template[0], dict) and "SpecialToken" in template[0]
        for template in templates
    )
