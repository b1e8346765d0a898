"""What a JSON schema leaves open, and llama_cpp's converter does not read so.

Above it: `json_grammar`. llama_cpp 0.3.36 takes any value for an object, fails at items that may be anything, and
passes over `minItems` and `maxItems` without `items`, and over what is required and no property.
"""

from collections.abc import Mapping
from typing import Any

_REMARKS = frozenset(["$comment", "default", "deprecated", "description", "examples", "readOnly", "title", "writeOnly"])
"""Keywords that constrain nothing: a schema of these alone is any value, as Pydantic writes `Any`."""

_COUNTS = frozenset({"minItems", "maxItems"})


def is_any(schema: Any) -> bool:
    """Whether a schema takes any value. ValueError for the one that takes none."""
    if schema is False:
        raise ValueError("a schema that is false lets nothing be written; leave it out")
    return schema is True or (isinstance(schema, dict) and schema.keys() <= _REMARKS)


def completed(schema: dict[str, Any], *, lenient: bool) -> dict[str, Any]:
    """A schema with what it leaves open written down: items of any kind, and properties that are only required.

    ValueError for one that is required and may not be there, which `lenient` passes over.
    """
    kind = schema.get("type")
    if kind in (None, "array") and _has_any_items(schema):
        return {**schema, "items": True}
    if kind == "object" or (kind is None and "properties" in schema):
        return _with_required(schema, lenient=lenient)
    return schema


def _has_any_items(schema: dict[str, Any]) -> bool:
    if "prefixItems" in schema or schema.get("items", {}) != {}:
        return False
    return "items" in schema or (schema.get("type") == "array" and bool(_COUNTS & schema.keys()))


def _with_required(schema: dict[str, Any], *, lenient: bool) -> dict[str, Any]:
    known: Mapping[str, Any] = schema.get("properties", {})
    missing = [name for name in schema.get("required", []) if name not in known]
    if not missing or "allOf" in schema:
        return schema
    other = schema.get("additionalProperties", True)
    if other is False and lenient:
        return schema
    if other is False:
        raise ValueError(f"{str(missing[0])[:100]} is required and none of the properties")
    return {**schema, "properties": {**known, **dict.fromkeys(missing, other)}}
