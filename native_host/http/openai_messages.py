"""OpenAI's messages in the wire's words: chat messages, and the input items of the responses endpoint.

Above it: `native_host.http.openai_requests`. What is not known here goes on as it is, for the dispatcher
to name it in its error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from messages.errors import ErrorCode, HostError
from native_host.http.openai_tools import joined_turns, wire_call, wire_reasoning, wire_result

JsonObject = dict[str, Any]

_TEXT_PARTS = frozenset({"input_text", "output_text"})

_PHASES = ("commentary", "final_answer")
"""What OpenAI's newer models call their messages before calls and after them; no chat template knows of it."""

_WHOLE_ITEM = "it stores nothing: send the item itself (the AI SDK does with `store: false` in providerOptions.openai)"


def chat_messages(messages: list[JsonObject]) -> list[JsonObject]:
    """Chat messages: `developer` is `system`, sound is a data URL, and what a client repeats as empty is left out."""
    return [_chat_message(message) for message in messages]


def _chat_message(message: JsonObject) -> JsonObject:
    known = {name: value for name, value in message.items() if name in ("role", "content") or value not in (None, [])}
    if known.get("role") == "assistant" and "reasoning_content" in known:
        known["reasoning"] = known.pop("reasoning_content")
    if known.get("role") == "developer":
        known["role"] = "system"
    if isinstance(known.get("content"), list):
        known["content"] = [_chat_part(part) for part in known["content"]]
    return known


def _chat_part(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") != "input_audio":
        return part
    sound = part.get("input_audio")
    if not isinstance(sound, dict):
        return part
    return {"type": "audio", "data": f"data:audio/{sound.get('format')};base64,{sound.get('data')}"}


def response_messages(given: list[JsonObject], instructions: str | None) -> list[JsonObject]:
    """A response's instructions and input as messages. HostError for an item that is no message."""
    messages = [{"role": "system", "content": instructions}] if instructions is not None else []
    return [*messages, *chat_messages([turn for _, turn in _turns(given)])]


@dataclass(frozen=True, slots=True)
class MessageName:
    """What the caller of a response knows a message as, the first of the items in it, and each of its calls."""

    name: str
    calls: Sequence[str] = ()


def message_names(given: list[JsonObject], instructions: str | None) -> list[MessageName]:
    """The names of `response_messages`."""
    names = [MessageName("instructions")] if instructions is not None else []
    for places, _ in _turns(given):
        calls = [f"input[{place}]" for place in places if given[place].get("type") == "function_call"]
        names.append(MessageName(f"input[{places[0]}]", calls))
    return names


def _turns(given: list[JsonObject]) -> list[tuple[list[int], JsonObject]]:
    return joined_turns([_item(item, place) for place, item in enumerate(given)])


def _item(item: JsonObject, place: int) -> JsonObject:
    """What an item says in the wire's words. HostError for one of another kind."""
    match item.get("type", "message"):
        case "function_call":
            return wire_call(item, place)
        case "function_call_output":
            output = item.get("output")
            return wire_result(item, [_item_part(part) for part in output] if isinstance(output, list) else output)
        case "reasoning":
            return wire_reasoning(item)
        case "message":
            return _message(item)
        case _:
            raise _unknown_item(item, place)


def _unknown_item(item: JsonObject, place: int) -> HostError:
    field, kind = f"input[{place}].type", str(item.get("type"))[:100]
    instead = _WHOLE_ITEM if kind == "item_reference" else "send messages and function calls"
    text = f"{field} {kind!r} is not supported by this host; {instead}."
    return HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=[field])


def _message(item: JsonObject) -> JsonObject:
    """A message, without what a client repeats of an earlier answer, also another server's: id, status and phase."""
    message = {name: value for name, value in item.items() if name not in ("type", "id", "status")}
    if message.get("phase") in _PHASES:
        del message["phase"]
    if isinstance(message.get("content"), list):
        message["content"] = [_item_part(part) for part in message["content"]]
    return message


def _item_part(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") in _TEXT_PARTS:
        return {"type": "text", "text": part.get("text")}
    if part.get("type") == "input_image" and isinstance(part.get("image_url"), str):
        url = {"url": part["image_url"], "detail": part.get("detail") or "auto"}
        return {"type": "image_url", "image_url": url}
    return part
