"""A tool call that must be made, in the words of a model's dialect: what is given of it, and what the model may choose.

Above it: `backends.answer.plan`. Below it: `backends.answer.dialects`. Engines make a grammar of it.
"""

from collections.abc import Iterator
from typing import Any

from backends.answer.dialects import CallForm
from backends.base import ForcedCall, JsonPart, OneOf, TextUpTo
from messages.tools import Tool

Part = str | JsonPart | TextUpTo | OneOf


def forced_call(form: CallForm, tool: Tool) -> ForcedCall:
    """One call of a tool as a form writes it."""
    name, schema = tool.function.name, tool.function.schema_object
    before, _, after = (form.forced or "").partition("{arguments}")
    arguments = [JsonPart(schema)] if form.element is None else list(_elements(form.element, schema))
    return ForcedCall(tuple(_joined([before.replace("{name}", name), *arguments, after])))


def _elements(element: tuple[str, str], schema: dict[str, Any]) -> Iterator[Part]:
    """The required arguments, or all where none is required, each between its marks and on a line of its own."""
    properties = schema.get("properties", {})
    for name in [name for name in schema.get("required", []) if name in properties] or properties:
        yield element[0].replace("{name}", name)
        yield from _value(properties[name], schema, element[1])
        yield "\n"


def _value(schema: Any, whole: dict[str, Any], end: str) -> Iterator[Part]:
    """A value and its end mark. Texts are written without quotes, everything else as JSON."""
    known = schema if isinstance(schema, dict) else {}
    choices = known.get("enum", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        yield OneOf(tuple(choices))
        yield end
    elif known.get("type") == "string":
        yield TextUpTo(end)
    else:
        yield JsonPart({**{name: whole[name] for name in ("$defs", "definitions") if name in whole}, **known})
        yield end


def _joined(parts: list[Part]) -> Iterator[Part]:
    """The same with texts that follow each other as one, and none empty."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text
