"""Turns pydantic's validation errors into `path: what is wrong`, in the words of JSON and not of Python."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

MAX_FIELDS = 20
"""Most wrong fields that one error names."""

MAX_NAME_CHARACTERS = 100
"""Most characters of a field's name that an error repeats."""


def _bound(value: float) -> str:
    """A limit in all its digits: 2147483647 and not 2.14748e+09."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


_WORDS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "extra_forbidden": lambda _: "is not a known field",
    "less_than_equal": lambda context: f"must be <= {_bound(context['le'])}",
    "less_than": lambda context: f"must be < {_bound(context['lt'])}",
    "greater_than_equal": lambda context: f"must be >= {_bound(context['ge'])}",
    "greater_than": lambda context: f"must be > {_bound(context['gt'])}",
    "finite_number": lambda _: "must be a finite number",
    "string_type": lambda _: "must be a string",
    "bool_type": lambda _: "must be true or false",
    "int_type": lambda _: "must be an integer",
    "float_type": lambda _: "must be a number",
    "bool_parsing": lambda _: "must be true or false",
    "int_parsing": lambda _: "must be an integer",
    "int_from_float": lambda _: "must be an integer",
    "float_parsing": lambda _: "must be a number",
    "list_type": lambda _: "must be an array",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
    "model_attributes_type": lambda _: "must be an object",
    "too_short": lambda context: f"must have at least {context['min_length']} item(s)",
    "too_long": lambda context: f"must have at most {context['max_length']} item(s)",
    "string_too_short": lambda context: f"must have at least {context['min_length']} character(s)",
    "string_too_long": lambda context: f"must have at most {context['max_length']} character(s)",
    "literal_error": lambda context: f"must be {context['expected']}",
    "string_pattern_mismatch": lambda _: "must be a data URL (data:audio/wav;base64,...)",
    "union_tag_not_found": lambda context: f"needs a field {context['discriminator'].strip(chr(39))}",
    "union_tag_invalid": lambda context: (
        f"{context['discriminator'].strip(chr(39))} must be one of {context['expected_tags']}"
    ),
    "value_error": lambda context: str(context["error"]),
}


def describe(error: ValidationError) -> list[str]:
    """One line for each wrong field, at most `MAX_FIELDS`, such as `settings.temperature: must be <= 2`."""
    lines: dict[str, None] = {}
    for item in error.errors(include_url=False, include_input=False):
        text = words_of(item)
        path = _path(item["loc"][:-1] if _is_of_key(item) else item["loc"])
        lines[f"{path}: {text}" if path else text] = None
    return list(lines)[:MAX_FIELDS]


def words_of(item: Mapping[str, Any]) -> str:
    """What is wrong, of one of the errors that a `ValidationError` or FastAPI's list."""
    word = _WORDS.get("extra_forbidden" if _is_of_key(item) else item["type"])
    return word(item.get("ctx", {})) if word else str(item["msg"])


def _is_of_key(item: Mapping[str, Any]) -> bool:
    """True if it is the name of a field that is wrong, in an object whose names are checked; one may be called so."""
    location: tuple[int | str, ...] = item["loc"]
    return item["type"] != "extra_forbidden" and location[-1:] == ("[key]",)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for depth, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
        elif not _is_union_tag(location, depth):
            path += f".{part[:MAX_NAME_CHARACTERS]}" if path else part[:MAX_NAME_CHARACTERS]
    return path


def _is_union_tag(location: tuple[int | str, ...], depth: int) -> bool:
    """A union's tag stands behind fields that are a choice, or behind the index of a part."""
    if depth == 0:
        return False
    if location[depth - 1] in ("content", "response_format", "tool_choice"):
        return True
    return location[max(depth - 3, 0) : depth - 1] == ("content", "parts")
