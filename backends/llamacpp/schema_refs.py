"""What the `$ref`s of a JSON schema point to.

Above it: `json_grammar`. llama_cpp 0.3.36 does not know `#`, as Zod and OpenAI's own examples write recursion, does not
look beside a `$ref` at the top, as Pydantic writes it, nor into arrays.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from backends.json_schema import DATA, NAMED_SCHEMAS


def resolved_refs(schema: dict[str, Any], url: str) -> dict[str, Any]:
    """The schemas that a schema refers to, by its `$ref`s, before which `url` is then set. ValueError for a bad one."""
    found: dict[str, Any] = {}
    for node in list(_referring(schema)):
        reference = node["$ref"]
        node["$ref"] = f"{url}{reference}"
        found[node["$ref"]] = _target(schema, reference)
    return found


def _referring(schema: Any) -> Iterator[dict[str, Any]]:
    """All schemas in a schema that have a `$ref`."""
    if isinstance(schema, list):
        for one in schema:
            yield from _referring(one)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        yield schema
    for keyword, value in schema.items():
        if keyword in NAMED_SCHEMAS and isinstance(value, dict):
            yield from _referring(list(value.values()))
        elif keyword not in DATA:
            yield from _referring(value)


def _target(schema: dict[str, Any], reference: Any) -> dict[str, Any] | bool:
    """What a JSON pointer (RFC 6901) in a fragment points to."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise ValueError(f"$ref {str(reference)[:100]} is not in the schema itself; put what it means into $defs")
    target: Any = schema
    for part in reference.split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, dict) and name in target:
            target = target[name]
        else:
            raise ValueError(f"$ref {reference[:100]} points to nothing")
    if not isinstance(target, dict | bool):
        raise ValueError(f"$ref {reference[:100]} points to no schema")
    return target
