r"""JSON Schema into GBNF: llama_cpp's converter, held to what JSON lets stand in a string.

Above it: `constraint`. llama_cpp 0.3.36 takes any character into a string, a line break as well, and writes the quotes
of a pattern and the backslashes of a constant as they are: such an answer is no JSON, in which control characters, `"`
and `\` are escaped (RFC 8259, section 7). Those that a pattern names by themselves are written escaped; in its classes
they are left out. A pattern's `\d`, `\w` and `\s`, escaped punctuation and `(?:`, which that converter does not know,
are spelt out. So are bounds of numbers, and what stands beside several types. A `$ref` has a rule of its own: that
converter takes the one of a property of the same name.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from llama_cpp.llama_grammar import PRIMITIVE_RULES, RESERVED_NAMES, BuiltinRule, SchemaConverter

from backends.llamacpp.number_grammar import BOUNDS, can_bound, number_rule
from backends.llamacpp.schema_gaps import completed, is_any
from backends.llamacpp.schema_refs import resolved_refs

_FORBIDDEN = ((0x00, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
"""Characters that are not written into a string as they are, from and to; DEL may be, but says nothing."""

_LAST = 0x10FFFF

_CHARACTER = r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F])'
"""The rule of one character of a string."""

_PART = re.compile(r'"(?P<literal>(?:\\.|[^"\\])*)"|\[(?P<negated>\^?)(?P<members>(?:\\.|[^\]\\])*)\]', re.DOTALL)
"""A literal or a character class of GBNF."""

_SIGN = re.compile(
    r"\\x(?P<x>[0-9a-fA-F]{2})|\\u(?P<u>[0-9a-fA-F]{4})|\\U(?P<U>[0-9a-fA-F]{8})|\\(?P<one>.)|.", re.DOTALL
)
"""One character of a literal or a class, as it is spelt there."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

_SETS = {"d": "0-9", "w": "0-9A-Z_a-z", "s": " "}
"""What a pattern's short names for sets of characters stand for; of white space only the blank needs no escape."""

_KNOWN_TO_BASE = frozenset('\\[]()|{}*+?nrtxu"')
"""What may stand behind a backslash for llama_cpp's converter."""

_QUOTE = '"\\""'
"""The literal of the quotation mark at either end of a string."""

_CONSTANTS = frozenset({"const", "enum"})

_FIRST = frozenset({"$ref", "oneOf", "anyOf", *_CONSTANTS})
"""Keywords beside which llama_cpp's converter looks at no other; at several types it looks before constants."""

_Range = tuple[int, int]

_Base: Any = SchemaConverter


class JsonConverter(_Base):  # type: ignore[misc]
    """Collects the rules of schemas. Raises ValueError, and what llama_cpp's converter does, for what it cannot do."""

    def __init__(self, *, lenient: bool = False) -> None:
        """`lenient` passes over what nothing could satisfy where a tool's parameters say so."""
        super().__init__(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
        self._lenient = lenient
        self._referred: dict[str, str] = {}
        """The rules of what is referred to, by the reference."""

    def resolve_refs(self, schema: dict[str, Any], url: str) -> dict[str, Any]:
        """The schema, each reference in it with `url` before it, and with what it points to known."""
        self._refs |= resolved_refs(schema, url)
        return schema

    def visit(self, schema: Any, name: str) -> Any:
        """The name of the rule for a schema. What stands beside several types counts for each of them."""
        if name and is_any(schema):
            return self._add_primitive("value", PRIMITIVE_RULES["value"])
        if not _FIRST & schema.keys():
            kind = schema.get("type")
            if isinstance(kind, list):
                return super().visit({"anyOf": [{**schema, "type": one} for one in dict.fromkeys(kind)]}, name)
            if BOUNDS & schema.keys() and can_bound(schema):
                return self._add_rule(f"{name}-" if name in RESERVED_NAMES else name or "root", number_rule(schema))
        elif _CONSTANTS & schema.keys() and isinstance(schema.get("type"), list):
            schema = {keyword: value for keyword, value in schema.items() if keyword != "type"}
        return super().visit(completed(schema, lenient=self._lenient), name)

    def _resolve_ref(self, ref: str) -> str:
        """The name of a rule that nothing else has: a property may be called as a definition is."""
        if ref not in self._referred:
            name = self._referred[ref] = self._add_rule(f"ref-{len(self._referred)}", ref)  # taken, and filled below
            self._rules[name] = self.visit(self._refs[ref], f"{name}-of")
        return self._referred[ref]

    def _add_primitive(self, name: str, rule: BuiltinRule) -> Any:
        strict = BuiltinRule(_CHARACTER) if rule is PRIMITIVE_RULES["char"] else rule
        return super()._add_primitive(name, strict)

    def _format_literal(self, literal: str) -> str:
        """A constant or a property's name, as JSON text that spells as few characters as can be by their numbers."""
        return gbnf_literal(json.dumps(json.loads(literal), ensure_ascii=False))

    def _visit_pattern(self, pattern: str, name: str) -> Any:
        before = dict(self._rules)
        made = super()._visit_pattern(_spelt_out(pattern), name)
        for rule, text in self._rules.items():
            if before.get(rule) != text:
                self._rules[rule] = _within_string(text)
        return made


def gbnf_literal(text: str) -> str:
    """A text as a literal of GBNF."""
    return '"' + "".join(_spelled(ord(one)) if one in '"\\' or one < " " else one for one in text) + '"'


def _spelt_out(pattern: str) -> str:
    """A pattern without the escapes that llama_cpp's converter does not know."""
    spelt, in_class = "", False
    for sign in re.finditer(r"\\.|\(\?:|.", pattern, re.DOTALL):
        text, escaped = sign[0], sign[0][1:]
        if text == "(?:":
            spelt += text if in_class else "("
        elif escaped in _SETS:
            spelt += _SETS[escaped] if in_class else f"[{_SETS[escaped]}]"
        elif escaped and not in_class and escaped not in _KNOWN_TO_BASE and not escaped.isalnum():
            spelt += f"[{text}]"
        else:
            spelt += text
            in_class = text != "]" if in_class else text == "["
    return spelt


def _within_string(rule: str) -> str:
    """A rule of a pattern, whose literals and classes stand inside a JSON string; its own quotation marks stay."""
    if rule.startswith(f"{_QUOTE} ") and rule.endswith(f" {_QUOTE} space"):
        inner = rule.removeprefix(f"{_QUOTE} ").removesuffix(f" {_QUOTE} space")
        return f"{_QUOTE} {_within_string(inner)} {_QUOTE} space"
    return _PART.sub(_part_within_string, rule)


def _part_within_string(part: re.Match[str]) -> str:
    literal = part["literal"]
    if literal is not None:
        return gbnf_literal(json.dumps("".join(map(chr, _signs(literal))), ensure_ascii=False)[1:-1])
    allowed = _without(_FORBIDDEN, _inverted(_ranges(part["members"])) if part["negated"] else _ranges(part["members"]))
    if not allowed:
        raise ValueError(f"a pattern's {part[0]} is of characters alone that JSON escapes")
    return "[" + "".join(_spelled(low) + (f"-{_spelled(high)}" if high > low else "") for low, high in allowed) + "]"


def _signs(text: str) -> Iterator[int]:
    """The characters that a literal spells. ValueError for an escape that GBNF does not have."""
    for sign in _SIGN.finditer(text):
        yield _character(sign)


def _character(sign: re.Match[str]) -> int:
    number = sign["x"] or sign["u"] or sign["U"]
    if number is not None:
        return int(number, 16)
    if sign["one"] is None:
        return ord(sign[0])
    if sign["one"].isalnum() and sign["one"] not in _ESCAPES:
        raise ValueError(f"a pattern's {sign[0]} is not supported; write its characters out")
    return ord(_ESCAPES.get(sign["one"], sign["one"]))


def _ranges(members: str) -> list[_Range]:
    """The characters of a class, as ranges in order that do not overlap."""
    signs = [(_character(sign), sign[0] == "-") for sign in _SIGN.finditer(members)]
    found: list[_Range] = []
    place = 0
    while place < len(signs):
        is_range = place + 2 < len(signs) and signs[place + 1][1]
        low, high = signs[place][0], signs[place + 2 if is_range else place][0]
        if high < low:
            raise ValueError(f"a pattern's [{members}] has a range that ends before it begins")
        found.append((low, high))
        place += 3 if is_range else 1
    return _merged(found)


def _merged(ranges: list[_Range]) -> list[_Range]:
    merged: list[_Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    return merged


def _inverted(ranges: list[_Range]) -> list[_Range]:
    """All characters but these."""
    return _without(ranges, [(0, _LAST)])


def _without(taken: "list[_Range] | tuple[_Range, ...]", ranges: list[_Range]) -> list[_Range]:
    """What is left of ranges without what is in others, both in order."""
    for first, last in taken:
        left: list[_Range] = []
        for low, high in ranges:
            left += [(low, min(high, first - 1))] if low < first else []
            left += [(max(low, last + 1), high)] if high > last else []
        ranges = left
    return ranges


def _spelled(character: int) -> str:
    return f"\\U{character:08X}"
