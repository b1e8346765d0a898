"""What the output must look like, as a GBNF grammar and the engine's sampler for it."""

import json
from typing import Any

import llama_cpp
from llama_cpp.llama_grammar import json_schema_to_gbnf

from backends.llamacpp.engine_log import EngineLog, captured_stderr
from messages.errors import ErrorCode, HostError
from messages.options import GrammarFormat, JsonObjectFormat, JsonSchemaFormat, ResponseFormat, TextFormat

FORMATS = frozenset({"json_object", "json_schema", "grammar"})

_ANY_OBJECT = {"type": "object"}

_SCHEMA_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What llama_cpp's converter raises for schemas that it cannot convert: it checks little, and fails where it stands."""


def grammar_of(response_format: ResponseFormat | None) -> str | None:
    """The GBNF of a response format, or None for free text.

    Raises HostError `invalid_request` for a schema that cannot be converted, `unsupported_option` for a regex.
    """
    match response_format:
        case None | TextFormat():
            return None
        case JsonObjectFormat():
            return _convert(_ANY_OBJECT)
        case JsonSchemaFormat():
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


def _convert(schema: dict[str, Any]) -> str:
    try:
        grammar: str = json_schema_to_gbnf(json.dumps(schema))
    except _SCHEMA_ERRORS as error:
        raise _refused("json_schema", str(error) or type(error).__name__) from error
    return grammar


def _refused(kind: str, reason: str) -> HostError:
    text = f"The response format's {kind} cannot be used: {reason.strip().rstrip('.')[:300]}."
    return HostError(ErrorCode.INVALID_REQUEST, text, fields=[f"response_format.{kind}: {reason.strip()[:300]}"])
