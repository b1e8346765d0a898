"""Numbers between bounds, as GBNF: `minimum`, `maximum`, `exclusiveMinimum` and `exclusiveMaximum` of JSON Schema.

Above it: `json_grammar`. llama_cpp 0.3.36 has no rule for them. A number is spelt without an exponent; what has no
upper bound has as many digits as that converter gives to every integer, or as its lower bound has.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})

_MOST_DIGITS = 16

_EXACT_DIGITS = 15
"""Digits of a number that doubles tell from every other of as many: 99.9999999999999999 is 100 to who reads it."""

_NO_FRACTION = '("." "0"{1,16})?'


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range, which a number may reach unless it is open."""

    value: int
    is_open: bool = False


def can_bound(schema: dict[str, Any]) -> bool:
    """Whether the bounds of a schema can be held: of integers, and of numbers if they are whole."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if not {"integer", "number"} & {kind for kind in kinds if isinstance(kind, str)}:
        return False
    return "number" not in kinds or all(_is_whole(schema[name]) for name in BOUNDS & schema.keys())


def number_rule(schema: dict[str, Any]) -> str:
    """The rule of a number or an integer with bounds. ValueError if there is none between them."""
    low = _tighter([_bound(schema, "minimum", False), _bound(schema, "exclusiveMinimum", True)], 1)
    high = _tighter([_bound(schema, "maximum", False), _bound(schema, "exclusiveMaximum", True)], -1)
    found = list(_signed(low, high, schema["type"] == "integer"))
    if not found:
        raise ValueError(f"there is no {schema['type']} between its bounds")
    return f"({' | '.join(found)}) space"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _bound(schema: dict[str, Any], name: str, is_open: bool) -> Bound | None:
    """A bound of a schema, an integer's moved inwards to the next that it may be."""
    value = schema.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number")
    if schema["type"] == "number":
        return Bound(int(value), is_open)
    if name.endswith("inimum"):
        return Bound(math.floor(value) + 1 if is_open else math.ceil(value))
    return Bound(math.ceil(value) - 1 if is_open else math.floor(value))


def _tighter(bounds: list[Bound | None], sign: int) -> Bound | None:
    known = [bound for bound in bounds if bound is not None]
    return max(known, key=lambda bound: (sign * bound.value, bound.is_open), default=None)


def _signed(low: Bound | None, high: Bound | None, is_integer: bool) -> Iterator[str]:
    """The rules of what is negative and of what is not. A lone zero has no sign."""
    if low is None or low.value < 0:
        most = None if low is None else Bound(-low.value, low.is_open)
        least = Bound(0, True) if high is None or high.value >= 0 else Bound(-high.value, high.is_open)
        found = list(_unsigned(least, most, is_integer))
        if found:
            yield f'"-" ({" | ".join(found)})'
    if high is None or high.value >= 0:
        least = low if low is not None and low.value >= 0 else Bound(0)
        yield from _unsigned(least, high, is_integer)


def _unsigned(low: Bound, high: Bound | None, is_integer: bool) -> Iterator[str]:
    """The rules of numbers of 0 and more: those whole parts that any fraction may follow, and those at the ends."""
    first = low.value + low.is_open
    if is_integer:
        last = None if high is None else high.value - high.is_open
        yield from _whole(first, last)
        return
    digits = _fraction_digits(low, high)
    fraction = f'("." [0-9]{{1,{digits}}})?' if digits else ""
    for whole in _whole(first, None if high is None else high.value - 1):
        yield f"({whole}) {fraction}"
    if digits and low.is_open and (high is None or low.value < high.value):
        yield f'"{low.value}" "." {_not_zero(digits)}'
    if high is not None and not high.is_open and high.value >= first:
        yield f'"{high.value}" {_NO_FRACTION}'


def _fraction_digits(low: Bound, high: Bound | None) -> int:
    """How many digits a fraction may have, that none is read as an end that is open."""
    ends = [len(str(end.value)) for end in (low, high) if end is not None and end.is_open]
    return min((max(0, _EXACT_DIGITS - whole) for whole in ends), default=_MOST_DIGITS)


def _not_zero(digits: int) -> str:
    """The rule of up to so many digits of which one is not 0."""
    rule = "[1-9]"
    for rest in range(1, digits):
        rule = f'([1-9] [0-9]{{0,{rest}}} | "0" {rule})'
    return rule


def _whole(first: int, last: int | None) -> Iterator[str]:
    """The rules of the integers from one to another, both of 0 and more, by their number of digits."""
    if last is None:
        most = max(_MOST_DIGITS, len(str(first)))
        yield from _whole(first, 10 ** len(str(first)) - 1)
        if most > len(str(first)):
            yield f"[1-9] [0-9]{{{len(str(first))},{most - 1}}}"
        return
    while first <= last:
        end = min(last, 10 ** len(str(first)) - 1)
        yield _of_one_length(str(first), str(end))
        first = end + 1


def _of_one_length(low: str, high: str) -> str:
    """The rule of the integers between two that have as many digits; zeros in front count."""
    rest = len(low) - 1
    if low == "0" * len(low) and high == "9" * len(high):
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return f'"{low[0]}" {_of_one_length(low[1:], high[1:])}' if rest else f'"{low}"'
    parts: list[str] = []
    begin, end = int(low[0]), int(high[0])
    if low[1:] != "0" * rest:
        parts.append(f'"{begin}" {_of_one_length(low[1:], "9" * rest)}')
        begin += 1
    if high[1:] != "9" * rest:
        parts.append(f'"{end}" {_of_one_length("0" * rest, high[1:])}')
        end -= 1
    if begin <= end:
        parts.append(f"[{begin}-{end}]" + (f" [0-9]{{{rest}}}" if rest else ""))
    return f"({' | '.join(parts)})"
