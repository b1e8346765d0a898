"""Constrained JSON with the library's own matcher, token by token."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.byte_tokens import BYTES, byte_model

from backends.base import GenerationRequest
from backends.huggingface.guidance import make_constraint
from backends.huggingface.vocabulary import Vocabulary
from messages.content import PromptInput
from messages.options import JsonObjectFormat, JsonSchemaFormat, ResponseFormat
from messages.settings import InferenceSettings

WORDS = ["<unk>", "</s>", *BYTES]
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [
        {"id": 1, "content": "</s>", "special": True}
        | dict.fromkeys(("normalized", "lstrip", "rstrip", "single_word"), False)
    ],
    "decoder": {"type": "ByteFallback"},
    "model": byte_model(WORDS),
}
"""A token for each byte."""

MOST_BLANKS = 21
"""A line's end and its indentation."""

SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]}
FORMATS = [
    JsonObjectFormat(type="json_object"),
    JsonSchemaFormat.model_validate({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}),
]


def _byte(character: str) -> int:
    return WORDS.index(f"<0x{ord(character):02X}>")


@pytest.mark.parametrize("wanted", FORMATS, ids=lambda wanted: str(wanted.type))
def test_a_model_that_writes_blanks_wherever_it_may_comes_to_the_end_of_its_json(
    wanted: ResponseFormat, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    vocabulary = Vocabulary(tmp_path, TOKENIZER, len(WORDS), [1])
    request = GenerationRequest(PromptInput(prompt="x"), InferenceSettings(), wanted)
    constraint = make_constraint(request, vocabulary)
    assert constraint is not None
    written = ""
    for part in ("{", '"a"', ":", "[", "1", ",", "2", "]", "}"):
        blanks = 0
        while blank := next((one for one in "\n\t " if constraint.allowed()[_byte(one)]), ""):
            constraint.advance(_byte(blank))
            written += blank
            blanks += 1
            assert blanks <= MOST_BLANKS
        for character in part:
            constraint.advance(_byte(character))
        written += part
    assert constraint.finished
    assert json.loads(written) == {"a": [1, 2]}
    assert len(written) > 6 * MOST_BLANKS
