"""Constrained output: JSON by a schema, any JSON object, or text by a regular expression, with llguidance.

genai has the same library inside, but reads the tokenizer anew for each generation and binds a constraint to a KV
cache for good. Here a constraint is a mask over the logits, so the cache outlives it.
"""

import json
import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher

from backends.base import GenerationRequest
from backends.huggingface.framing import after_reasoning, after_space, call_grammar
from backends.huggingface.vocabulary import Vocabulary
from backends.json_schema import NAMED_SCHEMAS
from backends.logprobs import Logits
from messages.errors import ErrorCode, HostError
from messages.frames import MAX_SAFE_INTEGER
from messages.options import JsonObjectFormat, JsonSchemaFormat, RegexFormat, ResponseFormat

_WHITESPACE = r"( |\n[ \t]{0,20})"
"""White space inside JSON, bounded as llama.cpp bounds it, so that a model cannot write blanks for ever."""

_UNCONSTRAINING = frozenset({"default", "examples"})
"""Keywords of JSON Schema whose values constrain nothing."""


_VALUES = frozenset({"const", "enum"})
_UPPER, _LOWER = frozenset({"maximum", "exclusiveMaximum"}), frozenset({"minimum", "exclusiveMinimum"})

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
"""The formats of strings that llguidance holds; it refuses a schema with any other."""

_UUID = re.compile(r"uuid[1-8]")

_ANY_NAME: tuple[object, ...] = ({}, {"type": "string"})
"""What `propertyNames` may be and constrain nothing: every name is a string."""

_LARGEST_BOUND = 2**63 - 1024
"""The largest double below 2**63."""

_LONGEST_LINE, _LONGEST_REASON = 150, 600
"""Characters of an engine's reason that are passed on: it quotes a whole expression, and names the cause after that."""


class _InexactInteger(ValueError):
    """A schema has an integer that the engine would count as another."""


class Constraint:
    """One generation's constraint: says which tokens may come next, and follows the ones that came."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._bits = np.zeros((vocab_size + 31) // 32, dtype=np.uint32)

    @property
    def finished(self) -> bool:
        """True if no token can follow any more."""
        return bool(self._matcher.is_stopped())

    def mask(self, logits: Logits) -> None:
        """Set the logits of forbidden tokens to -inf."""
        logits[~self.allowed()] = -np.inf

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next, `(vocab_size,)`."""
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._vocab_size]
        return bits.view(np.bool_)

    def advance(self, token: int) -> None:
        """Take the chosen token."""
        if not self._matcher.consume_token(token):
            fields = ["response_format: could not be followed"]
            raise HostError(ErrorCode.INVALID_REQUEST, _too_hard(self._matcher), fields=fields)


def make_constraint(request: GenerationRequest, vocabulary: Vocabulary) -> Constraint | None:
    """Compile what a request asks of its answer; HostError `invalid_request` if a schema or expression is not valid."""
    if request.forced_calls and isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat):
        make_constraint(replace(request, forced_calls=(), reasoning=None), vocabulary)  # refused as it would be alone
    try:
        grammar = _grammar(request, vocabulary)
    except _InexactInteger as error:
        raise _refused(request, str(error)) from None
    if grammar is None:
        return None
    matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=0)
    if matcher.is_error():
        raise _refused(request, matcher.get_error().strip())
    return Constraint(matcher, vocabulary.size)


def _refused(request: GenerationRequest, reason: str) -> HostError:
    """The error for what a request asks of its answer, in the words of every other engine."""
    what, field = "parameters of a tool", "tools"
    if not request.forced_calls and request.response_format is not None:
        kind = request.response_format.type
        what, field = f"response format's {kind}", f"response_format.{kind}"
    lines = (" ".join(line.split())[:_LONGEST_LINE] for line in reason.splitlines())
    said = " ".join(filter(None, lines))[:_LONGEST_REASON].rstrip(".")
    return HostError(ErrorCode.INVALID_REQUEST, f"The {what} cannot be used: {said}.", fields=[f"{field}: {said}"])


def _grammar(request: GenerationRequest, vocabulary: Vocabulary) -> str | None:
    if request.forced_calls:
        grammar: str | None = call_grammar(request.choices, partial(_json_grammar, lenient=True), vocabulary.specials)
    else:
        grammar = _format_grammar(request.response_format)
    if grammar is not None and request.reasoning is not None:
        grammar = after_reasoning(grammar, request.reasoning, vocabulary.specials)
    return after_space(grammar) if grammar is not None and vocabulary.strips_first_space else grammar


def _format_grammar(wanted: ResponseFormat | None) -> str | None:
    match wanted:
        case JsonObjectFormat() | JsonSchemaFormat():
            return _json_grammar(wanted.schema_object)
        case RegexFormat():
            return str(LLMatcher.grammar_from_regex(wanted.regex))
    return None


def _json_grammar(schema: dict[str, Any], *, lenient: bool = False) -> str:
    """The grammar of a schema; `lenient` passes over keywords that llguidance does not know, as parameters may have."""
    text = json.dumps(_readable(schema))
    return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": _WHITESPACE, "lenient": lenient})


def _readable(value: Any, *, moves_bounds: bool = True) -> Any:
    """A schema as llguidance (1.9) counts it right, which reads numbers as doubles, and bounds as 64 bits.

    What constrains nothing, and is not known to it, is left out. Bounds are moved inwards to the next such number.
    _InexactInteger for any other integer that is none.
    """
    if isinstance(value, dict):
        return {
            keyword: _readable_keyword(keyword, inner, moves_bounds=moves_bounds)
            for keyword, inner in value.items()
            if not moves_bounds or not _says_nothing(keyword, inner)
        }
    if isinstance(value, list):
        return [_readable(inner, moves_bounds=moves_bounds) for inner in value]
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        raise _InexactInteger(f"{str(value)[:30]} is an integer beyond +-2**53, which this engine rounds")
    return value


def _readable_keyword(keyword: str, value: Any, *, moves_bounds: bool) -> Any:
    if keyword in _UNCONSTRAINING and not isinstance(value, dict):  # a property may have such a name
        return value
    if keyword in _VALUES or not moves_bounds:
        return _readable(value, moves_bounds=False)
    if keyword in NAMED_SCHEMAS and isinstance(value, dict):
        return {name: _readable(schema) for name, schema in value.items()}
    if keyword == "format":
        return "uuid" if isinstance(value, str) and _UUID.fullmatch(value) else value
    if keyword in _UPPER and isinstance(value, int) and value > MAX_SAFE_INTEGER:
        return _double_below(value)
    if keyword in _LOWER and isinstance(value, int) and value < -MAX_SAFE_INTEGER:
        return -_double_below(-value)
    return _readable(value)


def _says_nothing(keyword: str, value: Any) -> bool:
    """Whether a keyword constrains nothing: a format that nobody knows is a remark, as JSON Schema has it."""
    if keyword == "format":
        return isinstance(value, str) and value not in _FORMATS and not _UUID.fullmatch(value)
    return keyword == "propertyNames" and value in _ANY_NAME


def _double_below(value: int) -> int:
    """The largest integer up to a value that a double and 64 bits hold."""
    value = min(value, _LARGEST_BOUND)
    nearest = int(float(value))
    return nearest if nearest <= value else int(math.nextafter(float(value), 0))


def _too_hard(matcher: LLMatcher) -> str:
    return f"The response format could not be followed: {matcher.get_error().strip()}"
