"""Remembers which tokens the last conversation's text came from.

A model rarely spells its words in the tokens that the tokenizer would choose for them. So an answer that comes back
as text in the next turn's prompt would be tokenized differently from what the KV cache holds, and all of it decoded
again. Where the new prompt's text goes on from the last one's, the tokens themselves are taken instead.
"""

import re
from typing import Protocol


class PromptTokenizer(Protocol):
    """What a transcript needs of a vocabulary."""

    @property
    def control(self) -> re.Pattern[str]:
        """Matches the spelling of any control token."""

    def tokenize_prompt(self, text: str) -> list[int]:
        """Tokens of a whole rendered conversation."""

    def tokenize_rest(self, text: str) -> list[int]:
        """Tokens of a text that goes on from another."""


class Transcript:
    """The last conversation: its text as the chat template rendered it and the model went on, and its tokens."""

    def __init__(self, tokenizer: PromptTokenizer) -> None:
        self._tokenizer = tokenizer
        self._text = ""
        self._tokens: list[int] = []

    def tokenize(self, prompt: str) -> list[int]:
        """Tokens of a rendered conversation, those of the last one taken over if it goes on from there.

        The new part has to begin with a control token: only there do tokens never reach over from one text to another.
        """
        length = len(self._text)
        if length and prompt.startswith(self._text) and self._tokenizer.control.match(prompt, length):
            return [*self._tokens, *self._tokenizer.tokenize_rest(prompt[length:])]
        return self._tokenizer.tokenize_prompt(prompt)

    def remember(self, text: str, tokens: list[int]) -> None:
        """Keep a conversation whose text is exactly that of its tokens."""
        self._text, self._tokens = text, tokens

    def forget(self) -> None:
        """Keep nothing: the last text and its tokens do not match."""
        self.remember("", [])
