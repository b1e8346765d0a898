"""Prompts into the tokens that an encoder reads, the tokenizer's own start and end tokens included: `SourceReader`.

Above it: `encoder_decoder_loader`. Its models were trained on plain texts, most of them without a chat template.
"""

from pathlib import Path
from typing import Any

from tokenizers import Encoding

from backends.chat_template import ChatTemplate
from backends.huggingface.files import read_json
from backends.huggingface.tokenizer_files import control_tokens, template_source, token_text
from backends.onnx.prompt import EncodedPrompt, refuse_other_media
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from backends.shield import SHIELD, shield
from messages.content import PromptInput


class SourceReader:
    """Satisfies `backends.onnx.model.PromptReader`. Raises HostError `model_invalid` if the chat template is broken."""

    def __init__(self, folder: Path, description: dict[str, Any], tokenizer: JsonTokenizer) -> None:
        self._tokenizer = tokenizer
        self._control = control_tokens(description)
        self._template = _template(folder)

    def encode(self, prompt: PromptInput) -> EncodedPrompt:
        """Tokens of a bare prompt; of messages by the chat template, or of their texts, a line break between two.

        Raises HostError `unsupported_option` for pictures and sounds, `invalid_request` for an empty prompt and for a
        conversation that the template refuses.
        """
        refuse_other_media(prompt)
        if prompt.messages is None:
            return self._encoded(prompt.prompt or "", ends=True)
        messages = [shield(message, self._control) for message in prompt.messages]
        if self._template is None:
            return self._encoded("\n".join(message.text for message in messages), ends=True)
        return self._encoded(self._template.render(messages, variables=prompt.variables), ends=False)

    def forget(self) -> None:
        """Nothing is remembered: an encoder reads each prompt whole."""

    def remember(self, text: str, tokens: list[int]) -> None:
        """Nothing: the answer is no part of the next prompt's tokens."""

    def _encoded(self, text: str, ends: bool) -> EncodedPrompt:
        """`ends` has the tokenizer put its special tokens around; a chat template has written them already."""
        parts = [self._tokenizer.encoding(part) for part in text.split(SHIELD) if part]
        merged = Encoding.merge(parts)
        has_ends = ends and merged.ids
        tokens = self._tokenizer.raw.post_process(merged, add_special_tokens=True).ids if has_ends else merged.ids
        return EncodedPrompt(list(tokens), None)


def _template(folder: Path) -> ChatTemplate | None:
    settings = read_json(folder / "tokenizer_config.json")
    source = template_source(folder, settings)
    if source is None:
        return None
    bos_token, eos_token = (token_text(settings.get(name)) for name in ("bos_token", "eos_token"))
    return ChatTemplate(source, bos_token=bos_token, eos_token=eos_token)
