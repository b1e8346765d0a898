"""What stands in a string under a schema is JSON: held against the engine's own grammar, text by text."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grammar_texts import Accepts

from backends.llamacpp.constraint import grammar_of
from backends.llamacpp.json_grammar import gbnf_literal
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat


@pytest.mark.parametrize("schema", [{"type": "string"}, {"type": "string", "minLength": 1, "maxLength": 30}])
def test_a_string_has_no_control_character_and_no_bare_quote(accepts: Accepts, schema: Any) -> None:
    for text in ("a b", "ü", "\U0001f642", 'a"b', "a\\b", "a\nb\t", "/"):
        assert accepts(schema, json.dumps(text)), text
        assert accepts(schema, json.dumps(text, ensure_ascii=False)), text
    for raw in ('"a\nb"', '"a\tb"', '"a\x00b"', '"a\x1fb"', '"a"b"', '"a\\ b"', '"a'):
        assert not accepts(schema, raw), raw


PATTERNS = {
    r"^[^c]{3}$": (["aba", "üüü"], ["aca", "ab", "abab"]),
    r"^.{2}$": (["ab", "é!"], ["a", "abc"]),
    r"^[ -~]+$": (["ab c", "!#[]~"], ["é"]),
    r'^say "\w+"\.$': (['say "hi_2".'], ["say hi.", 'say "h i".', 'say "hi"x']),
    r"^c:\\[a-z]+$": ([r"c:\ab"], ["c:ab"]),
    r"^\d{2}:\d{2}$": (["12:34"], ["1:34", "ab:cd"]),
    r"^[\w.-]+@[\w.-]+\.(com|de)$": (["a.b-c@d_e.com", "a@b.de"], ["a@b.fr", "a@bcom"]),
    r"^a\sb$": (["a b"], ["ab"]),
    r"^line\nline$": (["line\nline"], ["line line"]),
    r"^(ab|c\"d)*$": (["", 'abc"dab'], ["a", "cd"]),
    r"^[\]\[-]x$": (["]x", "[x", "-x"], ["x", "ax"]),
    r"^(?:\d{2}|[(?:]x)\(?$": (["12", "(x", "?x(", ":x"], ["x", "1", "(?:x"]),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_takes_what_it_matches_as_json_alone(accepts: Accepts, pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    good, bad = PATTERNS[pattern]
    for text in good:
        assert re.fullmatch(pattern, text), text
        assert accepts(schema, json.dumps(text, ensure_ascii=False)), text
    for text in bad:
        assert not accepts(schema, json.dumps(text, ensure_ascii=False)), text
    for raw in ('"a\nb"', '"\x00\x01\x02"', '"a"b"', '""""'):
        assert not accepts(schema, raw), raw


CONSTANTS = ['a"b', "a\\b", "c:\\new", "line\nline", "tab\t", "ü 🙂", "\x7f", "</s>", "%d"]


@pytest.mark.parametrize("value", CONSTANTS)
def test_a_constant_and_a_property_are_written_as_json(accepts: Accepts, value: str) -> None:
    written = json.dumps(value, ensure_ascii=False)
    assert accepts({"const": value}, written)
    assert accepts({"enum": ["other", value]}, written)
    schema = {"type": "object", "properties": {value: {"const": 1}}, "required": [value], "additionalProperties": False}
    assert accepts(schema, f"{{{written}:1}}")
    assert not accepts({"const": value}, json.dumps(value + "x", ensure_ascii=False))
    if "\\" in written:
        assert not accepts({"const": value}, f'"{value}"')


@pytest.mark.parametrize("pattern", [r"^\bword\b$", r"^\Da$", r'^["]$', r"^[z-a]$", "no anchors"])
def test_a_pattern_that_cannot_be_held_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(HostError) as caught:
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema={"type": "string", "pattern": pattern}))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert "attern" in caught.value.message


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_of_gbnf_is_one_line_whatever_its_text(text: str) -> None:
    literal = gbnf_literal(text)
    assert literal[0] == literal[-1] == '"'
    assert not set(literal[1:-1]) & set('"\n\r\0')
