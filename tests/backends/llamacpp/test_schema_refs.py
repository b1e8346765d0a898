"""References in schemas: held against the engine's own grammar."""

from typing import Any

import pytest
from support.grammar_texts import Accepts

from backends.llamacpp.constraint import grammar_of
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


THREE = {"type": "integer", "minimum": 3}

SCHEMAS: dict[str, tuple[dict[str, Any], str, str]] = {
    "itself, as Zod and OpenAI write it": (
        _object(next=_or_null({"$ref": "#"})),
        '{"next": {"next": null}}',
        '{"next": 1}',
    ),
    "at the top, as Pydantic writes what refers to itself": (
        {"$ref": "#/$defs/Node", "$defs": {"Node": _object(next=_or_null({"$ref": "#/$defs/Node"}))}},
        '{"next": {"next": null}}',
        '{"next": 1}',
    ),
    "a name with a blank": (
        {"$ref": "#/$defs/My Node", "$defs": {"My Node": _object(next=_or_null({"$ref": "#/$defs/My%20Node"}))}},
        '{"next": {"next": null}}',
        '{"next": 1}',
    ),
    "a name with a slash": (
        _object(a={"$ref": "#/$defs/a~1b"}) | {"$defs": {"a/b": THREE}},
        '{"a": 3}',
        '{"a": 2}',
    ),
    "the name of a property before it": (
        _object(unit={"type": "string", "maxLength": 3}, price={"$ref": "#/$defs/unit"}) | {"$defs": {"unit": THREE}},
        '{"unit": "m", "price": 3}',
        '{"unit": "m", "price": "m"}',
    ),
    "the name of a type": (
        _object(a={"type": "string"}, b={"$ref": "#/$defs/string"}) | {"$defs": {"string": {"enum": ["x"]}}},
        '{"a": "y", "b": "x"}',
        '{"a": "y", "b": "y"}',
    ),
    "two of one name in two places": (
        _object(a={"$ref": "#/$defs/one/x"}, b={"$ref": "#/$defs/two/x"})
        | {"$defs": {"one": {"x": {"const": 1}}, "two": {"x": {"const": 2}}}},
        '{"a": 1, "b": 2}',
        '{"a": 1, "b": 1}',
    ),
    "one of a list": (
        _object(a={"anyOf": [{"type": "null"}, THREE]}, b={"$ref": "#/properties/a/anyOf/1"}),
        '{"a": null, "b": 3}',
        '{"a": null, "b": null}',
    ),
    "a property called $ref": (
        {"type": "object", "properties": {"$ref": {"type": "integer"}}, "required": ["$ref"]},
        '{"$ref": 1}',
        '{"$ref": "a"}',
    ),
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_reference_is_to_what_it_names(accepts: Accepts, name: str) -> None:
    schema, taken, refused = SCHEMAS[name]
    assert accepts(schema, taken)
    assert not accepts(schema, refused)


@pytest.mark.parametrize(
    "reference", ["#/$defs/none", "#/type", "#/required/5", "#anchor", "https://example.com/a.json", 5]
)
def test_a_reference_to_nothing_is_refused_with_its_words(reference: object) -> None:
    schema = _object(a={"$ref": reference})
    with pytest.raises(HostError, match=r"\$ref") as caught:
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema=schema))
    assert caught.value.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"anyOf": [{"$ref": "#"}, {"type": "null"}]}])
def test_what_is_nothing_but_itself_is_refused(accepts: Accepts, schema: dict[str, Any]) -> None:
    with pytest.raises(HostError) as caught:
        accepts(schema, "null")
    assert caught.value.code is ErrorCode.INVALID_REQUEST
