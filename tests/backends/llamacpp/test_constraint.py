"""Structured output: what a schema or grammar allows and nothing else, and what is wrong with a bad one."""

import json
from typing import Any

import pytest
from support.generations import ask, user

from backends.llamacpp.backend import LlamaCppBackend
from backends.llamacpp.constraint import grammar_of
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import GrammarFormat, JsonObjectFormat, JsonSchemaFormat, RegexFormat, TextFormat

SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "green", "blue"]},
        "ready": {"type": "boolean"},
        "pair": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2},
    },
    "required": ["colour", "ready", "pair"],
    "additionalProperties": False,
}


def _grammar(text: str) -> GrammarFormat:
    return GrammarFormat(type="grammar", grammar=text)


def _schema(schema: dict[str, object]) -> JsonSchemaFormat:
    return JsonSchemaFormat(type="json_schema", json_schema=schema)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("wrapped", [False, True])
def test_output_for_a_schema_is_json_of_its_kind(backend: LlamaCppBackend, temperature: float, wrapped: bool) -> None:
    schema = {"name": "answer", "schema": SCHEMA, "strict": True} if wrapped else SCHEMA
    answer = ask(
        backend, [user("hi")], response_format=_schema(schema), temperature=temperature, seed=1, max_tokens=200
    )
    value = json.loads(answer.text)
    assert value["colour"] in ("red", "green", "blue")
    assert isinstance(value["ready"], bool)
    assert len(value["pair"]) == 2
    assert answer.end.finish_reason is FinishReason.STOP


def test_output_for_a_json_object_begins_as_one(backend: LlamaCppBackend) -> None:
    answer = ask(backend, [user("hi")], response_format=JsonObjectFormat(type="json_object"), max_tokens=30)
    assert answer.text.startswith("{")


def test_a_grammar_leaves_only_what_it_accepts(backend: LlamaCppBackend) -> None:
    answer = ask(backend, [user("hi")], response_format=_grammar('root ::= "yes" | "no"'))
    assert answer.text in ("yes", "no")
    assert answer.end.finish_reason is FinishReason.STOP


def test_what_fits_anyway_is_what_free_text_would_be(backend: LlamaCppBackend) -> None:
    anything = _grammar("root ::= [^\\x00]*")
    both: list[dict[str, Any]] = [{"temperature": 0.0}, {"temperature": 1.0, "seed": 9, "repeat_penalty": 1.3}]
    for settings in both:
        free = ask(backend, "hello", response_format=TextFormat(type="text"), **settings)
        assert ask(backend, "hello", response_format=anything, **settings).text == free.text


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= (", "expecting ')'"),
        ('root ::= "a" | x', "Undefined rule identifier 'x'"),
        ('other ::= "a"', "'root'"),
        ('root ::= root "a"', "left recursion"),
        ('root ::= "a"{1000000}', "repetitions"),
        ("nonsense", "expecting"),
    ],
)
def test_a_bad_grammar_is_refused_with_the_reason(backend: LlamaCppBackend, grammar: str, reason: str) -> None:
    with pytest.raises(HostError) as caught:
        ask(backend, [user("hi")], response_format=_grammar(grammar))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert reason in caught.value.message
    assert ask(backend, [user("hi")]).end.output_tokens == 16


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing known"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "https://example.com/schema.json"},
        {"type": "object", "properties": 5},
        {"type": "string", "pattern": "no anchors"},
        {"enum": 3},
    ],
)
def test_a_bad_schema_is_refused_with_the_reason(backend: LlamaCppBackend, schema: dict[str, object]) -> None:
    with pytest.raises(HostError) as caught:
        ask(backend, [user("hi")], response_format=_schema(schema))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert len(caught.value.message) > 50


def test_a_regex_is_not_supported(backend: LlamaCppBackend) -> None:
    with pytest.raises(HostError) as caught:
        ask(backend, [user("hi")], response_format=RegexFormat(type="regex", regex="a+"))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


def test_a_grammar_prints_nothing_to_stderr(backend: LlamaCppBackend, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError):
        ask(backend, [user("hi")], response_format=_grammar('root ::= "my secret" ('))
    assert "secret" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("properties", "keyword"),
    [
        ({"share": {"type": "number", "multipleOf": 0.5}}, "multipleOf"),
        ({"tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}, "uniqueItems"),
        ({"either": {"anyOf": [{"not": {"type": "null"}}, {"type": "string"}]}}, "not"),
    ],
)
def test_a_schema_keyword_that_would_have_no_effect_is_refused(properties: dict[str, object], keyword: str) -> None:
    with pytest.raises(HostError) as caught:
        grammar_of(_schema({"type": "object", "properties": properties}))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    assert caught.value.details["fields"] == [f"response_format.json_schema: {keyword}"]


def test_an_integer_that_no_double_holds_is_exact() -> None:
    grammar = grammar_of(_schema({"enum": [2**53 + 1, -(10**30) - 1]}))
    assert grammar is not None
    assert "9007199254740993" in grammar
    assert "-1000000000000000000000000000001" in grammar


def test_a_property_may_have_the_name_of_a_keyword() -> None:
    properties = {"not": {"type": "boolean"}, "minimum": {"enum": [{"not": 1}]}}
    assert grammar_of(_schema({"type": "object", "properties": properties}))
