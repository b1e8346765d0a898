"""What stands in a string under a schema is JSON: held against the engine's own grammar, text by text."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.grammar_texts import Accepts

from backends.llamacpp.constraint import grammar_of, schema_rules
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


ANY: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {}}, "required": ["a"]},
    {"type": "object", "properties": {"a": True}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"title": "A", "description": "Whatever.", "default": None}}},
    {"type": "object", "additionalProperties": True, "properties": {}},
    {"type": "object", "additionalProperties": {}},
    {"type": "object", "required": ["a"]},
    {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/any"}}, "$defs": {"any": {"title": "Any"}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/any"}}, "$defs": {"any": True}},
]


@pytest.mark.parametrize("schema", ANY)
@pytest.mark.parametrize("value", ["1", "null", '"a"', "[1, {}]", '{"b": true}'])
def test_what_may_be_anything_may_be_no_object_too(accepts: Accepts, schema: dict[str, Any], value: str) -> None:
    assert accepts(schema, f'{{"a": {value}}}')
    assert not accepts(schema, '{"a": }')


LISTS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"type": "array", "items": {}}, ["[]", '[1, "a", {}]'], ["{}"]),
    ({"items": {}}, ["[]", "[1]"], ["{}"]),
    ({"type": "array", "items": True, "maxItems": 1}, ["[]", "[[]]"], ["[1, 2]"]),
    ({"type": "array", "minItems": 2}, ["[1, {}]", "[1, 2, 3]"], ["[]", "[1]"]),
    ({"type": "array", "prefixItems": [{}, {"type": "null"}], "minItems": 2, "maxItems": 2}, ["[1, null]"], ["[1]"]),
    ({"type": "array"}, ["[]", "[1]"], ["{}"]),
]


@pytest.mark.parametrize(("schema", "taken", "refused"), LISTS)
def test_a_list_of_anything_is_held_to_its_length(
    accepts: Accepts, schema: dict[str, Any], taken: list[str], refused: list[str]
) -> None:
    for text in taken:
        assert accepts(schema, text), text
    for text in refused:
        assert not accepts(schema, text), text


def test_what_is_required_must_be_there_though_it_is_no_property(accepts: Accepts) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["a"]}
    assert not accepts(schema, "{}")
    assert not accepts(schema, '{"b": null}')
    assert accepts(schema | {"additionalProperties": {"type": "null"}}, '{"a": null}')
    assert not accepts(schema | {"additionalProperties": {"type": "null"}}, '{"a": 1}')
    with pytest.raises(HostError, match="a is required and none of the properties"):
        accepts(schema | {"additionalProperties": False}, "{}")
    assert schema_rules([schema | {"additionalProperties": False}])


@pytest.mark.parametrize("keyword", ["minLength", "maxLength"])
def test_a_length_beside_a_pattern_is_refused_by_name(keyword: str) -> None:
    schema = {"type": "string", "pattern": "^a*$", keyword: 3}
    with pytest.raises(HostError, match=keyword) as caught:
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema=schema))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_schema_that_lets_nothing_be_written_is_refused() -> None:
    schema = {"type": "object", "properties": {"a": False}, "required": ["a"]}
    with pytest.raises(HostError, match="lets nothing be written"):
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema=schema))
