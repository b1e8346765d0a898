"""Numbers between bounds: held against the engine's own grammar, number by number."""

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.grammar_texts import Accepts

from backends.llamacpp.constraint import grammar_of, schema_rules
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat

SAFE = 2**53 - 1
LENIENT = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

INTEGERS = st.integers(-1200, 1200) | st.integers(-SAFE, SAFE)
LIMITS = (
    st.none() | st.integers(-1100, 1100) | st.floats(-1100, 1100) | st.sampled_from([SAFE, -SAFE, 0, 1, 10, 99, 100])
)


def _between(value: float, schema: dict[str, Any]) -> bool:
    """What JSON Schema says of a number and its bounds."""
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    return bool(low <= value <= high and above < value < below)


def _schema(kind: str, bounds: tuple[Any, ...]) -> dict[str, Any]:
    names = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    return {"type": kind, **{name: one for name, one in zip(names, bounds, strict=True) if one is not None}}


def _accepts(accepts: Accepts, schema: dict[str, Any], text: str) -> bool | None:
    """None where there is no number at all between the bounds, which is an error that says so."""
    try:
        return accepts(schema, text)
    except HostError as error:
        if "between its bounds" not in error.message:
            raise
        return None


@LENIENT
@given(bounds=st.tuples(LIMITS, LIMITS, LIMITS, LIMITS), values=st.lists(INTEGERS, min_size=5, max_size=5))
def test_an_integer_is_taken_if_it_is_between_the_bounds(accepts: Accepts, bounds: Any, values: list[int]) -> None:
    schema = _schema("integer", bounds)
    ends = [round(one) + step for one in bounds if one is not None for step in (-1, 0, 1)]
    for value in values + ends:
        taken = _accepts(accepts, schema, str(value))
        assert bool(taken) is _between(value, schema), (schema, value)
    assert not _accepts(accepts, schema, "007")
    assert not _accepts(accepts, schema, "1.5")


NUMBERS = st.none() | st.integers(-120, 120) | st.floats(-120, 120) | st.decimals(-9, 9, places=3).map(float)


@LENIENT
@given(bounds=st.tuples(*[NUMBERS] * 4), values=st.lists(st.floats(-130, 130), max_size=5))
def test_a_number_is_taken_if_it_is_between_the_bounds(accepts: Accepts, bounds: Any, values: list[float]) -> None:
    schema = _schema("number", bounds)
    ends = [round(one + step, 12) for one in bounds if one is not None for step in (-1, -0.25, -1e-6, 0, 0.25, 1)]
    for value in [*(round(one, 6) for one in values), *ends, *(one for one in bounds if one == int(one or 0))]:
        text = f"{value:.12f}" if isinstance(value, float) else str(value)
        text = text.removeprefix("-") if float(text) == 0 else text
        assert bool(_accepts(accepts, schema, text)) is _between(float(text), schema), (schema, text)


@pytest.mark.parametrize(
    ("bounds", "below", "within"),
    [
        ({"exclusiveMaximum": 100}, "99." + "9" * 16, "99." + "9" * 12),
        ({"exclusiveMinimum": 3}, "3." + "0" * 15 + "1", "3.00000000000001"),
        ({"exclusiveMinimum": 3, "exclusiveMaximum": 4}, "3." + "9" * 16, "3." + "9" * 14),
        ({"exclusiveMaximum": 10**15}, "9" * 15 + "." + "9" * 16, "9" * 15),
        ({"exclusiveMinimum": -100}, "-99." + "9" * 16, "-99.5"),
        ({"exclusiveMinimum": 0.5}, "0.50000000000000001", "0.50000000000001"),
        ({"exclusiveMaximum": 0.30000000000000004}, "0.30000000000000004", "0.3"),
        ({"exclusiveMinimum": -1.25, "exclusiveMaximum": -0.75}, "-1.2499999999999999999", "-1.2499999999999"),
    ],
)
def test_no_number_is_taken_that_is_read_as_an_open_end(
    accepts: Accepts, bounds: dict[str, Any], below: str, within: str
) -> None:
    schema = {"type": "number", **bounds}
    assert float(below) in bounds.values()
    assert not accepts(schema, below)
    assert _between(float(within), schema)
    assert accepts(schema, within)


ZOD: dict[str, dict[str, Any]] = {
    "int": {"type": "integer", "minimum": -SAFE, "maximum": SAFE},
    "positive": {"type": "integer", "exclusiveMinimum": 0, "maximum": SAFE},
    "percent": {"type": "number", "minimum": 0, "maximum": 1},
    "part": {"type": "number", "minimum": 0.1, "maximum": 2.5},
    "above": {"type": "number", "exclusiveMinimum": -0.5, "exclusiveMaximum": 0.05},
    "nullable": {"anyOf": [{"type": "integer", "minimum": -SAFE, "maximum": SAFE}, {"type": "null"}]},
    "record": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
    "several": {"type": ["integer", "null"], "minimum": 1},
}
"""What Zod makes of its types, as the AI SDK and LangChain send it, and what hand-written schemas have."""


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("int", ["0", "-7", str(SAFE), str(-SAFE)], [str(SAFE + 1), "1.0"]),
        ("positive", ["1", str(SAFE)], ["0", "-1"]),
        ("percent", ["0", "0.25", "1", "1.0"], ["1.01", "-0.1", "2"]),
        ("part", ["0.1", "0.10", "1", "2.5", "2.49999", "2"], ["0", "0.09999", "2.51", "2.500001", "3", "-0.2"]),
        ("above", ["0", "0.0", "-0.49", "0.049", "-0.4999"], ["-0.5", "0.05", "0.050", "-0.50", "1", "-1"]),
        ("nullable", ["null", "3"], ["true"]),
        ("record", ['{"a": 1}', "{}"], ['{"a": true}']),
        ("several", ["null", "1", "12"], ["0", "true"]),
    ],
)
def test_schemas_as_programs_send_them_are_held(
    accepts: Accepts, name: str, taken: list[str], refused: list[str]
) -> None:
    for text in taken:
        assert accepts(ZOD[name], text), text
    for text in refused:
        assert not accepts(ZOD[name], text), text


def test_what_stands_beside_several_types_counts_for_each(accepts: Accepts) -> None:
    talk = {"type": ["object", "null"], "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    assert accepts(talk, "null")
    assert accepts(talk, '{"a": true}')
    assert not accepts(talk, "{}")
    words = {"type": ["string", "null"], "enum": ["red", None]}
    assert accepts(words, "null")
    assert accepts(words, '"red"')
    assert not accepts(words, '"blue"')
    assert not accepts({"type": ["string", "null"], "maxLength": 2}, '"abc"')


def test_a_type_that_is_told_twice_counts_once(accepts: Accepts) -> None:
    schema: dict[str, Any] = {"type": "integer", "minimum": 1}
    for _ in range(30):
        schema = {"type": ["object", "object"], "properties": {"a": schema}, "required": ["a"]}
    assert accepts(schema, '{"a":' * 30 + "7" + "}" * 30)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minimum": 1},
        {"minimum": 1},
        {"enum": [1, 2], "minimum": 2},
        {"anyOf": [{"type": "integer"}], "minimum": 2},
        {"allOf": [{"type": "integer", "minimum": 2}]},
    ],
)
def test_a_bound_that_cannot_be_held_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(HostError, match="minimum") as caught:
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema=schema))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION


@pytest.mark.parametrize("bounds", [{"minimum": 3, "maximum": 2}, {"minimum": "3"}, {"exclusiveMinimum": True}])
def test_bounds_that_say_nothing_are_refused_with_the_reason(bounds: dict[str, Any]) -> None:
    with pytest.raises(HostError, match=r"between its bounds|must be a number") as caught:
        grammar_of(JsonSchemaFormat(type="json_schema", json_schema={"type": "integer", **bounds}))
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_a_call_that_must_be_made_is_held_to_bounds() -> None:
    half = {"type": "number", "minimum": 0.5}
    names, rules = schema_rules([{"type": "integer", "minimum": 3, "maximum": 4}, half])
    assert len(names) == 2
    assert "[3-4]" in rules
    assert '"0" "." ' in rules
