"""The part of a `tokenizer.json` that spells what it does not know byte by byte, as SentencePiece does."""

from collections.abc import Sequence
from typing import Any

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
"""A token for each byte."""


def byte_model(words: Sequence[str]) -> dict[str, Any]:
    """A model of these tokens, in the order of their numbers; `<unk>` and `BYTES` are among them."""
    return {
        "type": "BPE",
        "byte_fallback": True,
        "unk_token": "<unk>",
        "vocab": {word: index for index, word in enumerate(words)},
        "merges": [],
    }
