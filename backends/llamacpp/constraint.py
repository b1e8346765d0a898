"""What the output must look like, as a GBNF grammar and the engine's sampler for it."""

import copy
from collections.abc import Sequence
from typing import Any

import llama_cpp

from backends.json_schema import DATA, NAMED_SCHEMAS
from backends.llamacpp.engine_log import EngineLog, captured_stderr
from backends.llamacpp.json_grammar import JsonConverter
from backends.llamacpp.number_grammar import BOUNDS, can_bound
from messages.errors import ErrorCode, HostError
from messages.options import GrammarFormat, JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat

FORMATS = frozenset({"json_object", "json_schema", "grammar"})

_IGNORED_KEYWORDS = frozenset(
    [
        "$anchor",
        "$dynamicRef",
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "maxProperties",
        "minContains",
        "minProperties",
        "multipleOf",
        "not",
        "patternProperties",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    ]
)
"""Keywords of JSON Schema that constrain, and that llama_cpp's converter (0.3.36) passes over in silence."""

_UNBOUND = frozenset({"$ref", "anyOf", "const", "enum", "oneOf"})
"""Keywords beside which that converter looks at no bounds."""

_LENGTHS = frozenset({"minLength", "maxLength"})
"""Keywords that it passes over beside a pattern."""

_NAMES_AND_DATA = DATA | {"required"}

_SCHEMA_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What llama_cpp's converter raises for schemas that it cannot convert: it checks little, and fails where it stands."""


def grammar_of(response_format: ResponseFormat | None) -> str | None:
    """The GBNF of a response format, or None for free text.

    Raises HostError `invalid_request` for a schema that cannot be converted, `unsupported_option` for a regex.
    """
    match response_format:
        case None | TextFormat():
            return None
        case JsonObjectFormat() | JsonSchemaFormat():
            return _convert(response_format.schema_object)
        case GrammarFormat():
            return response_format.grammar
    raise HostError(
        ErrorCode.UNSUPPORTED_OPTION,
        "The llamacpp backend cannot do response_format regex; use grammar or json_schema.",
        fields=["response_format.type"],
    )


def grammar_sampler(vocabulary: Any, grammar: str, log: EngineLog) -> Any:
    """The engine's sampler for a grammar, to be freed by the caller.

    Raises HostError `invalid_request` with the engine's reason if the grammar is wrong.
    """
    log.errors.clear()
    with captured_stderr() as said:
        sampler = llama_cpp.llama_sampler_init_grammar(vocabulary, grammar.encode("utf-8", "replace"), b"root")
    if sampler:
        return sampler
    lines = "".join(said).splitlines()
    reason = lines[0].removeprefix("parse: error parsing grammar: ") if lines else log.last_error
    raise _refused("grammar", reason or "it has no rule named root")


def schema_rules(schemas: Sequence[dict[str, Any]]) -> tuple[list[str], str]:
    """The names of rules for the JSON of some schemas, and all rules that these need. HostError `invalid_request`."""
    converter = JsonConverter(lenient=True)
    try:
        names = [
            converter.visit(converter.resolve_refs(copy.deepcopy(schema), f"schema{at}"), f"schema{at}")
            for at, schema in enumerate(schemas)
        ]
    except _SCHEMA_ERRORS as error:
        reason = str(error) or type(error).__name__
        text = f"The parameters of a tool cannot be used: {reason.strip().rstrip('.')[:300]}."
        raise HostError(ErrorCode.INVALID_REQUEST, text, fields=[f"tools: {reason.strip()[:300]}"]) from error
    return names, converter.format_grammar()


def _convert(schema: dict[str, Any]) -> str:
    ignored = sorted(_ignored_keywords(schema))
    if ignored:
        raise HostError(
            ErrorCode.UNSUPPORTED_OPTION,
            f"The llamacpp backend cannot hold {', '.join(ignored)} of a JSON schema; leave that out.",
            fields=[f"response_format.json_schema: {keyword}" for keyword in ignored],
        )
    converter = JsonConverter()
    try:
        converter.visit(converter.resolve_refs(copy.deepcopy(schema), "schema"), "")
        grammar: str = converter.format_grammar()
    except _SCHEMA_ERRORS as error:
        raise _refused("json_schema", str(error) or type(error).__name__) from error
    return grammar


def _ignored_keywords(schema: object) -> set[str]:
    """The keywords in a schema that would have no effect; names of properties and definitions are not keywords."""
    if isinstance(schema, list):
        return set().union(*map(_ignored_keywords, schema))
    if not isinstance(schema, dict):
        return set()
    found = _IGNORED_KEYWORDS & schema.keys()
    if schema.get("propertyNames") in ({}, {"type": "string"}):
        found -= {"propertyNames"}
    if _UNBOUND & schema.keys() or not can_bound(schema):
        found |= BOUNDS & schema.keys()
    if "pattern" in schema:
        found |= _LENGTHS & schema.keys()
    for keyword, value in schema.items():
        if keyword in NAMED_SCHEMAS and isinstance(value, dict):
            found |= _ignored_keywords(list(value.values()))
        elif keyword == "allOf" and isinstance(value, list):
            found |= _ignored_keywords(value).union(*(BOUNDS & one.keys() for one in value if isinstance(one, dict)))
        elif keyword not in _NAMES_AND_DATA:
            found |= _ignored_keywords(value)
    return set(found)


def _refused(kind: str, reason: str) -> HostError:
    text = f"The response format's {kind} cannot be used: {reason.strip().rstrip('.')[:300]}."
    return HostError(ErrorCode.INVALID_REQUEST, text, fields=[f"response_format.{kind}: {reason.strip()[:300]}"])
