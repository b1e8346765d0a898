"""Numbers between bounds, as GBNF: `minimum`, `maximum`, `exclusiveMinimum` and `exclusiveMaximum` of JSON Schema.

Above it: `json_grammar`. llama_cpp 0.3.36 has no rule for them. A number is spelt without an exponent; what has no
upper bound has as many digits as that converter gives to every integer, or as its lower bound has.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})

_MOST_DIGITS = 16

_EXACT_DIGITS = 15
"""Digits of a number that doubles tell from every other of as many: 99.9999999999999999 is 100 to who reads it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An end of a range, which a number may reach unless it is open."""

    value: Decimal
    is_open: bool = False

    def negated(self) -> "Bound":
        """The other end of the range of these numbers' opposites."""
        return Bound(self.value.copy_negate(), self.is_open)  # minus would round what has more than 28 digits

    @property
    def whole(self) -> int:
        """Its whole part, of 0 or more."""
        return math.floor(self.value)

    @property
    def fraction(self) -> "_End":
        """What a fraction behind that whole part must reach, or must not pass."""
        return f"{self.value - self.whole:f}".partition(".")[2].rstrip("0"), self.is_open


_End = tuple[str, bool]
"""Digits behind a point without zeros at the end, and whether a fraction must not be equal to them."""

_ANY: _End = ("", False)
"""The lower end that every fraction reaches."""


def can_bound(schema: dict[str, Any]) -> bool:
    """Whether the bounds of a schema can be held: those of integers and of numbers."""
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return bool({"integer", "number"} & {kind for kind in kinds if isinstance(kind, str)})


def number_rule(schema: dict[str, Any]) -> str:
    """The rule of a number or an integer with bounds. ValueError if there is none between them."""
    low = _tighter([_bound(schema, "minimum", False), _bound(schema, "exclusiveMinimum", True)], 1)
    high = _tighter([_bound(schema, "maximum", False), _bound(schema, "exclusiveMaximum", True)], -1)
    found = list(_signed(low, high, schema["type"] == "integer"))
    if not found:
        raise ValueError(f"there is no {schema['type']} between its bounds")
    return f"({' | '.join(found)}) space"


def _bound(schema: dict[str, Any], name: str, is_open: bool) -> Bound | None:
    """A bound of a schema, moved inwards to the next number that may be: an integer, or one of few enough digits."""
    value = schema.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number")
    is_lower = name.endswith("inimum")
    if schema["type"] == "integer":
        if is_lower:
            return Bound(Decimal(math.floor(value) + 1 if is_open else math.ceil(value)))
        return Bound(Decimal(math.ceil(value) - 1 if is_open else math.floor(value)))
    if value == int(value):
        return Bound(Decimal(int(value)), is_open)
    number = Decimal(repr(value))
    if is_open and len(number.as_tuple().digits) > _EXACT_DIGITS:
        rounding = ROUND_CEILING if is_lower else ROUND_FLOOR
        return Bound(Context(prec=_EXACT_DIGITS, rounding=rounding).plus(number))
    return Bound(number, is_open)


def _tighter(bounds: list[Bound | None], sign: int) -> Bound | None:
    known = [bound if sign > 0 else bound.negated() for bound in bounds if bound is not None]
    tightest = max(known, key=lambda bound: (bound.value, bound.is_open), default=None)
    return tightest if tightest is None or sign > 0 else tightest.negated()


def _signed(low: Bound | None, high: Bound | None, is_integer: bool) -> Iterator[str]:
    """The rules of what is negative and of what is not. A lone zero has no sign."""
    zero = Decimal(0)
    if low is None or low.value < 0:
        most = None if low is None else low.negated()
        least = Bound(zero, True) if high is None or high.value >= 0 else high.negated()
        found = list(_unsigned(least, most, is_integer))
        if found:
            yield f'"-" ({" | ".join(found)})'
    if high is None or high.value >= 0:
        least = low if low is not None and low.value >= 0 else Bound(zero)
        yield from _unsigned(least, high, is_integer)


def _unsigned(low: Bound, high: Bound | None, is_integer: bool) -> Iterator[str]:
    """The rules of numbers of 0 and more: those whole parts that any fraction may follow, and those at the ends."""
    if is_integer:
        yield from _whole(low.whole + low.is_open, None if high is None else high.whole - high.is_open)
        return
    digits = _fraction_digits(low, high)
    first = low.whole + (low.fraction != _ANY)
    for free in _whole(first, None if high is None else high.whole - 1):
        yield f"({free}) {_behind(_ANY, None, digits)}"
    ends: list[tuple[int, _End, _End | None]] = []
    if first > low.whole and (high is None or low.whole < high.whole):
        ends.append((low.whole, low.fraction, None))
    if high is not None and high.whole >= low.whole:
        ends.append((high.whole, low.fraction if low.whole == high.whole else _ANY, high.fraction))
    for whole, least, most in ends:
        fraction = _behind(least, most, digits)
        if fraction is not None:
            yield f'"{whole}" {fraction}'


def _fraction_digits(low: Bound, high: Bound | None) -> int:
    """How many digits a fraction may have, that none is read as an end that is open."""
    ends = [len(str(end.whole)) for end in (low, high) if end is not None and end.is_open]
    return min((max(0, _EXACT_DIGITS - whole) for whole in ends), default=_MOST_DIGITS)


def _behind(low: _End, high: _End | None, most: int) -> str | None:
    """The rule of what stands behind a whole part: nothing, or a point and up to `most` digits; None if nothing may."""
    digits = _digits(low, high, most)
    if not _may_end(low, high):
        return digits and f'"." ({digits})'
    return f'("." ({digits}))?' if digits else ""


def _may_end(low: _End, high: _End | None) -> bool:
    """Whether no more digit need follow."""
    return low == _ANY and (high is None or high != ("", True))


def _digits(low: _End, high: _End | None, most: int) -> str | None:
    """The rule of one to `most` digits from one end to another, which are those behind the digits so far."""
    if most == 0:
        return None
    if low == _ANY and high in (None, ("", False)):
        return f"{'[0-9]' if high is None else '[0]'}{{1,{most}}}"
    parts: list[str] = []
    for first, last, below, above in _first_digits(low, high):
        rest = _digits(below, above, most - 1)
        optional = _may_end(below, above)
        if optional or rest:
            parts.append(f"[{first}-{last}]" + (f" ({rest}){'?' if optional else ''}" if rest else ""))
    return " | ".join(parts) or None


def _first_digits(low: _End, high: _End | None) -> Iterator[tuple[int, int, _End, _End | None]]:
    """From which digit to which the next one may be, and between what ends those behind it are then."""
    least, most = int(low[0][:1] or 0), 9 if high is None else int(high[0][:1] or 0)
    below = (low[0][1:], low[1])
    above = None if high is None else (high[0][1:], high[1])
    if least == most:
        yield least, most, below, above
        return
    begin, end = least + (below != _ANY), most - (above is not None)
    if begin > least and least < most:
        yield least, least, below, None
    if begin <= end:
        yield begin, end, _ANY, None
    if end < most and least < most:
        yield most, most, _ANY, above


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
