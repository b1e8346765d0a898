"""Constrained output with the real engine: valid whatever the model would rather say."""

import json
import re
from typing import Any

import pytest
from support.tiny_genai import run

from backends.onnx.backend import OnnxBackend
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import JsonObjectFormat, JsonSchemaFormat, RegexFormat

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dög 😀"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}


def schema_format(schema: dict[str, Any]) -> JsonSchemaFormat:
    return JsonSchemaFormat(type="json_schema", json_schema=schema)


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 1.5, "seed": 3}, {"temperature": 1.0, "seed": 4, "repeat_penalty": 1.5}]
)
def test_json_follows_its_schema(tiny: OnnxBackend, settings: dict[str, Any]) -> None:
    outcome = run(tiny, "Hello", schema_format(PERSON), max_tokens=400, **settings)
    assert outcome.end.finish_reason is FinishReason.STOP
    value = json.loads(outcome.text)
    assert list(value) == ["name", "age", "kind"]
    assert len(value["name"]) <= 8
    assert 0 <= value["age"] <= 150
    assert value["kind"] in PERSON["properties"]["kind"]["enum"]


def test_openai_s_wrapper_around_a_schema_is_taken_off(tiny: OnnxBackend) -> None:
    wrapped = schema_format({"name": "person", "strict": True, "schema": PERSON})
    assert list(json.loads(run(tiny, "Hello", wrapped, max_tokens=400).text)) == ["name", "age", "kind"]


@pytest.mark.parametrize("seed", range(3))
def test_a_json_object_is_one(tiny: OnnxBackend, seed: int) -> None:
    outcome = run(tiny, "Hello", JsonObjectFormat(type="json_object"), temperature=1.0, seed=seed, max_tokens=450)
    if outcome.end.finish_reason is FinishReason.STOP:
        assert isinstance(json.loads(outcome.text), dict)
    assert outcome.text.startswith("{")


def test_a_regular_expression_is_matched_whole(tiny: OnnxBackend) -> None:
    pattern = r"[A-Z]{2}-\d{3}(yes|no)"
    for seed in range(3):
        outcome = run(tiny, "Hello", RegexFormat(type="regex", regex=pattern), temperature=1.0, seed=seed)
        assert re.fullmatch(pattern, outcome.text)
        assert outcome.end.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(
    "wanted",
    [
        schema_format({"type": "banana"}),
        schema_format({"type": "object", "properties": 3}),
        schema_format({"$ref": "https://example.com/schema.json"}),
        RegexFormat(type="regex", regex="[0-9"),
        RegexFormat(type="regex", regex="(?=a)b"),
    ],
    ids=["type", "properties", "remote", "class", "lookahead"],
)
def test_what_cannot_be_compiled_is_an_invalid_request(
    tiny: OnnxBackend, wanted: JsonSchemaFormat | RegexFormat
) -> None:
    with pytest.raises(HostError) as caught:
        run(tiny, "Hello", wanted)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    begins = f"The response format's {wanted.type} cannot be used: "
    reason = caught.value.message.removeprefix(begins).removesuffix(".")
    assert caught.value.details["fields"] == [f"response_format.{wanted.type}: {reason}"]
    assert caught.value.message == f"{begins}{reason}."
    assert run(tiny, "Hello").end.output_tokens > 0


@pytest.mark.parametrize("expression", ["(a", "(" + "a" * 1000], ids=["short", "long"])
def test_what_is_wrong_with_an_expression_is_said_after_it(tiny: OnnxBackend, expression: str) -> None:
    with pytest.raises(HostError) as caught:
        run(tiny, "Hello", RegexFormat(type="regex", regex=expression))
    assert "error: unclosed group" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700
    reason = caught.value.message.removeprefix("The response format's regex cannot be used: ").removesuffix(".")
    assert caught.value.details["fields"] == [f"response_format.regex: {reason}"]


@pytest.mark.parametrize(
    "schema",
    [
        {"const": 2**53 + 1},
        {"anyOf": [{"type": "null"}, {"enum": [-(10**25)]}]},
        {"type": "integer", "minimum": 2**63},
        {"const": {"maximum": 2**63}},
    ],
    ids=["const", "enum", "minimum", "no bound"],
)
def test_an_integer_that_the_engine_would_round_is_refused_by_name(tiny: OnnxBackend, schema: dict[str, Any]) -> None:
    number = re.findall(r"-?\d{10,}", json.dumps(schema))[0]
    with pytest.raises(HostError) as caught:
        run(tiny, "Hello", schema_format({"type": "object", "properties": {"a": schema}, "required": ["a"]}))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.details["fields"] == [
        f"response_format.json_schema: {number} is an integer beyond +-2**53, which this engine rounds"
    ]


def test_an_integer_is_exact_up_to_where_doubles_are(tiny: OnnxBackend) -> None:
    schema = {"const": 2**53, "default": 10**30}
    assert run(tiny, "Hello", schema_format(schema)).text == str(2**53)


def test_a_bound_beyond_a_double_is_moved_inwards(tiny: OnnxBackend) -> None:
    """Those of 64 bits are what makers of schemas write."""
    for low, high in ((-(2**63), 2**63 - 1), (0, 2**64 - 1), (-(10**30), 10**30)):
        text = run(tiny, "Hello", schema_format({"type": "integer", "minimum": low, "maximum": high})).text
        assert low <= int(text) <= high


def test_a_grammar_is_not_among_the_formats() -> None:
    assert "grammar" not in OnnxBackend.response_formats
