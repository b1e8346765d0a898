"""Texts into tokens for an embedding model: the tokenizer's start and end added, what is too long cut off and told.

Above it: `embedder`. Below it: Hugging Face's `tokenizers`, whose own truncation keeps start and end.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.huggingface.files import read_json, refuse
from backends.huggingface.splitting import splitting
from backends.onnx.transformersjs.tokenizer import read_tokenizer
from messages.wording import plural

CHARACTERS_A_TOKEN = 64
"""Characters of a text that are looked at for each token, at most; words have about five. The tokenizer takes 130 bytes
and 1.4 us for each (tokenizers 0.23), so that one request could take all memory."""

CHARACTERS_AT_ONCE = 1 << 20

Table = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextsRead:
    """Each text's tokens, and the places of the texts that were cut off."""

    tokens: list[list[int]]
    truncated: tuple[int, ...]


class TextReader:
    """A folder's tokenizer; pad_token_id is that of the model's config."""

    def __init__(self, folder: Path, pad_token_id: int | None) -> None:
        """Read the tokenizer; HostError `model_invalid` if it is none."""
        self._file = file = folder / "tokenizer.json"
        config = read_json(folder / "tokenizer_config.json")
        self._raw = read_tokenizer(file, ends=True)
        padding = self._raw.padding or {}
        self.pads_left = str(config.get("padding_side", padding.get("direction", ""))).lower() == "left"
        self._pad = _pad_token(self._raw, config, padding.get("pad_id", pad_token_id))
        self._direction = "left" if config.get("truncation_side") == "left" else "right"
        self._raw.no_padding()

    def require_room(self, limit: int) -> None:
        """Refuse a limit, in tokens, that leaves no room for a text; HostError `model_invalid`."""
        own = self._raw.num_special_tokens_to_add(False)
        if limit <= own:
            refuse(self._file, f"adds {own} {plural(own, 'token')} to each text, of which the model reads {limit}")

    def tokens_of_length(self, length: int) -> list[int]:
        """Some tokens, as a text of a length may have them."""
        return [self._pad] * length

    def read(self, texts: Sequence[str], limit: int) -> TextsRead:
        """Tokens of texts, each at most as long as a limit."""
        self._raw.enable_truncation(limit, direction=self._direction)
        cut = [self._cut(text, limit * CHARACTERS_A_TOKEN) for text in texts]
        tokens: list[list[int]] = []
        truncated: list[int] = []
        for some in _slices(cut):
            with splitting(self._file, max(map(len, some))):
                encodings = self._raw.encode_batch_fast(some)
            for encoding in encodings:
                place = len(tokens)
                if encoding.overflowing or len(cut[place]) < len(texts[place]):
                    truncated.append(place)
                tokens.append(encoding.ids)
        return TextsRead(tokens, tuple(truncated))

    def count(self, text: str) -> int:
        """Tokens of a whole text."""
        self._raw.no_truncation()
        with splitting(self._file, len(text)):
            return len(self._raw.encode(text).ids)

    def pad(self, batch: Sequence[list[int]], shape: tuple[int, int]) -> tuple[Table, Table]:
        """Tokens and attention mask of a shape (rows, length), padded behind each text.

        Behind it also where the tokenizer would pad before it: a graph that counts places from the left, or shares a
        cache, reads it right only so.
        """
        tokens, mask = np.full(shape, self._pad), np.zeros(shape, dtype=np.int64)
        for row, text in enumerate(batch):
            tokens[row, : len(text)], mask[row, : len(text)] = text, 1
        return tokens, mask

    def _cut(self, text: str, characters: int) -> str:
        """The part of a text in which its tokens are, for all that anybody writes."""
        return text[-characters:] if self._direction == "left" else text[:characters]


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in their order, few enough at once that their tokens take little memory."""
    some: list[str] = []
    for text in texts:
        if some and sum(map(len, some)) + len(text) > CHARACTERS_AT_ONCE:
            yield some
            some = []
        some.append(text)
    yield some


def _pad_token(tokenizer: Any, config: dict[str, Any], otherwise: int | None) -> int:
    """The token that the tokenizer's config names (by its text, or an object with it); any will do under the mask."""
    named = config.get("pad_token")
    text = named.get("content") if isinstance(named, dict) else named
    found: int | None = tokenizer.token_to_id(text) if isinstance(text, str) else None
    return next(token for token in (found, otherwise, 0) if token is not None)
