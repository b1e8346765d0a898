"""Tokens into bytes and text, and the vocabulary that constrained output is matched against.

Why not the engine's own token stream: after bytes that are not UTF-8 it never gives text again (seen in genai 0.18.0).
Tokens become bytes here, and `Utf8Assembler` makes characters of them. llguidance reads `tokenizer.json` with the
library that defined that format (Hugging Face tokenizers).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llguidance import LLTokenizer

from backends.answer.dialects import MARKERS
from backends.base import ModelInfo, Template
from backends.huggingface.files import refuse
from backends.logprobs import spelled
from backends.panics import is_failure
from backends.text_stream import StopFilter, Utf8Assembler


class Vocabulary:
    """The bytes of every token. Raises HostError `model_invalid` if `tokenizer.json` is not one."""

    def __init__(self, folder: Path, description: dict[str, Any], vocab_size: int, eos_tokens: Sequence[int]) -> None:
        file = folder / "tokenizer.json"
        try:
            self.tokenizer = LLTokenizer(_source(file, description), n_vocab=vocab_size, eos_token=list(eos_tokens))
        except BaseException as error:  # what is of an odd shape, or a panic (llguidance 1.9)
            if not is_failure(error):
                raise
            refuse(file, f"is not a tokenizer for this model ({error})", error)
        self.size = vocab_size
        self._added = added_tokens(description)
        self.specials = {mark: token for mark, token in self._added.items() if self.tokenizer.is_special_token(token)}
        self.strips_first_space = _strips_first_space(description.get("decoder"))

    def special_tokens(self, markers: Iterable[str]) -> dict[int, bytes]:
        """The bytes of the special tokens that some marks are."""
        return {self.specials[mark]: mark.encode() for mark in markers if mark in self.specials}

    def known(self, marks: Iterable[str]) -> frozenset[str]:
        """Those of some marks that are one token."""
        return frozenset(mark for mark in marks if mark in self._added)

    def bytes_of(self, token: int) -> bytes:
        """The bytes that a token writes; none for a special token."""
        if self.tokenizer.is_special_token(token):
            return b""
        return self.tokenizer.decode_bytes([token])

    def spell(self, token: int) -> tuple[str, bytes | None]:
        """A token's name and the bytes that it writes; None for a special token, which writes nothing."""
        data = self.bytes_of(token)
        return spelled(data) if data else (self.tokenizer.decode_bytes([token]).decode("utf-8", "replace"), None)


class TokenText:
    """The text of one generation, out of its tokens and up to its first stop string.

    shown are the bytes of special tokens that are to be seen.
    """

    def __init__(self, vocabulary: Vocabulary, stops: Sequence[str], shown: Mapping[int, bytes] | None = None) -> None:
        self._vocabulary = vocabulary
        self._shown = shown or {}
        self._utf8 = Utf8Assembler()
        self._stops = StopFilter(stops)
        self._at_start = vocabulary.strips_first_space

    @property
    def stopped(self) -> bool:
        """True once a stop string was found."""
        return self._stops.stopped

    def feed(self, token: int) -> str:
        """Return the text that is certain with this token."""
        data = self._shown.get(token) or self._vocabulary.bytes_of(token)
        if self._at_start and data:
            self._at_start = False
            data = data.removeprefix(b" ")
        return self._stops.feed(self._utf8.feed(data))

    def spell(self, token: int) -> tuple[str, bytes | None]:
        """A token's name and the bytes that it would write now; see `Vocabulary.spell`."""
        name, data = self._vocabulary.spell(token)
        return spelled(data.removeprefix(b" ")) if self._at_start and data else (name, data)

    def flush(self) -> str:
        """End the text and return what was held back."""
        return self._stops.feed(self._utf8.flush()) + self._stops.flush()


def added_tokens(description: dict[str, Any]) -> dict[str, int]:
    """The tokens of a `tokenizer.json` that stand outside of its model, special or not, by their spelling."""
    added = [token for token in description.get("added_tokens") or [] if isinstance(token, dict)]
    return {str(token.get("content")): token["id"] for token in added if isinstance(token.get("id"), int)}


def _source(file: Path, description: dict[str, Any]) -> str:
    """What llguidance reads: the file's path, or JSON in which the decoder is one that it knows.

    It does not know T5's, "Metaspace" (llguidance 1.9, `toktrie_hf_tokenizers`), but the steps that this stands for.
    """
    decoder = description.get("decoder")
    parts = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    marks = [part.get("replacement", "\u2581") for part in parts if part.get("type") == "Metaspace"]
    if not marks:
        return str(file)
    replace = {"type": "Replace", "pattern": {"String": marks[0]}, "content": " "}
    steps = [replace, {"type": "ByteFallback"}, {"type": "Fuse"}]
    return json.dumps({**description, "decoder": {"type": "Sequence", "decoders": steps}})


def _strips_first_space(decoder: Any) -> bool:
    """True if the tokenizer's decoder takes the space from before the first word (SentencePiece's way)."""
    if not isinstance(decoder, dict):
        return False
    if decoder.get("type") == "Sequence":
        return any(_strips_first_space(part) for part in decoder.get("decoders", []))
    if decoder.get("type") == "Metaspace":
        return bool(decoder.get("prepend_scheme", "always") != "never" and decoder.get("add_prefix_space", True))
    return bool(decoder.get("type") == "Strip" and decoder.get("content") == " " and decoder.get("start", 0) > 0)


def with_template(info: ModelInfo, template: Template, vocabulary: Vocabulary) -> ModelInfo:
    """What was loaded, with what its chat template and vocabulary tell of reasoning and tools."""
    capabilities = info.capabilities.model_copy(update={"tools": template.takes_tools})
    return replace(info, template=template, markers=vocabulary.known(MARKERS), capabilities=capabilities)
