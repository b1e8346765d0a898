"""Keeps what somebody wrote from ending its own turn: a special token's spelling in a message is no special token.

Above it: the backends that tokenize prompts themselves. They split a prompt at `SHIELD` before they tokenize it.
"""

import re

from messages.content import CalledFunction, Content, Message, TextPart, ToolCall

SHIELD = "\ufdd0"
"""A noncharacter of Unicode, which no text contains; it keeps a special token's spelling from being read as one."""


def shield(message: Message, control: re.Pattern[str]) -> Message:
    """A message in which what `control` matches is no special token: its text, its reasoning, its calls' arguments."""
    changes: dict[str, object] = {"content": _shielded_content(message.content, control)}
    if message.reasoning:
        changes["reasoning"] = _shielded(message.reasoning, control)
    if message.tool_calls:
        changes["tool_calls"] = [_shielded_call(call, control) for call in message.tool_calls]
    return message.model_copy(update=changes)


def _shielded_content(content: Content, control: re.Pattern[str]) -> Content:
    if isinstance(content, str):
        return _shielded(content, control)
    return [
        part.model_copy(update={"text": _shielded(part.text, control)}) if isinstance(part, TextPart) else part
        for part in content
    ]


def _shielded_call(call: ToolCall, control: re.Pattern[str]) -> ToolCall:
    arguments = _shielded(call.function.arguments, control)
    return call.model_copy(
        update={"function": CalledFunction.model_construct(name=call.function.name, arguments=arguments)}
    )


def _shielded(text: str, control: re.Pattern[str]) -> str:
    return control.sub(lambda found: found[0][0] + SHIELD + found[0][1:], text.replace(SHIELD, ""))
