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
from messages.errors import HostError
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


def _takes(schema: Any, text: str, folder: Path) -> bool:
    """Whether the constraint of a schema takes a text, to its end."""
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    wanted = JsonSchemaFormat(type="json_schema", json_schema=schema)
    request = GenerationRequest(PromptInput(prompt="x"), InferenceSettings(), wanted)
    constraint = make_constraint(request, Vocabulary(folder, TOKENIZER, len(WORDS), [1]))
    assert constraint is not None
    for character in text:
        if not constraint.allowed()[_byte(character)]:
            return False
        constraint.advance(_byte(character))
    return bool(constraint.finished or constraint.allowed()[WORDS.index("</s>")])


UUID = '"0190b8e0-0000-4000-8000-00000000000a"'


def test_a_format_that_the_engine_does_not_know_constrains_nothing_and_others_do(tmp_path: Path) -> None:
    for unknown in ("path", "uri-reference", "binary", "password"):
        assert _takes({"type": "string", "format": unknown}, '"any word"', tmp_path), unknown
    for known in ("uuid", "uuid4"):
        assert _takes({"type": "string", "format": known}, UUID, tmp_path), known
        assert not _takes({"type": "string", "format": known}, '"any word"', tmp_path), known
    assert not _takes({"type": "string", "format": "date"}, '"any word"', tmp_path)


def test_that_names_are_strings_constrains_nothing(tmp_path: Path) -> None:
    record = {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "boolean"}}
    assert _takes(record, '{"a":true}', tmp_path)
    assert not _takes(record, '{"a":1}', tmp_path)
    with pytest.raises(HostError, match="propertyNames"):
        _takes(record | {"propertyNames": {"maxLength": 3}}, "{}", tmp_path)


def test_a_property_and_a_constant_may_be_called_as_keywords_are(tmp_path: Path) -> None:
    string = {"type": "string"}
    named = {"type": "object", "properties": {"propertyNames": string}, "required": ["propertyNames"]}
    assert _takes(named, '{"propertyNames":"x"}', tmp_path)
    assert not _takes(named, '{"propertyNames":1}', tmp_path)
    for constant in ({"propertyNames": string}, {"format": "path"}):
        assert _takes({"const": constant}, json.dumps(constant, separators=(",", ":")), tmp_path)
        assert not _takes({"const": constant}, "{}", tmp_path)
