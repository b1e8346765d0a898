"""Tools and calls of the responses endpoint in the wire's words, which are those of chat completions.

Above it: `native_host.http.openai_requests` and `native_host.http.openai_messages`. What is not known here goes on as
it is, for the dispatcher to name it in its error; what the host does not have at all is refused by name.
"""

from typing import Any

from messages.errors import ErrorCode, HostError
from messages.frames import JsonObject
from native_host.http.openai_carried import carried_back
from native_host.http.openai_namespaces import Placed, namespaces_of, placed_tools, wire_name
from native_host.http.openai_parameters import invalid

_NO_SEARCH = 'it opens no connections: send functions (Codex: web_search = "disabled" in its config.toml)'

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")


def wire_tools(tools: list[Any] | None) -> list[Any] | None:
    """Function tools, whose function's fields stand beside their type. HostError for any other kind of tool."""
    return [_wire_tool(placed) for placed in placed_tools(tools)] or None


def wire_choice(choice: Any, tools: list[Any] | None) -> Any:
    """A tool_choice that names a function, or one word. HostError for a name that several namespaces have."""
    if not isinstance(choice, dict) or choice.get("type") != "function" or "name" not in choice:
        return choice
    rest = {name: value for name, value in choice.items() if name not in ("name", "namespace")}
    namespace, name = choice.get("namespace"), choice["name"]
    if namespace is None:
        known = namespaces_of(name, tools)
        namespace = known[0] if known else None
        if len(known) > 1:
            raise invalid("tool_choice.name", f"{name!r:.100} is in several namespaces; give its namespace beside it")
    elif not isinstance(namespace, str):
        raise invalid("tool_choice.namespace", "must be a string")
    return rest | {"function": {"name": wire_name(namespace, name)}}


def wire_call(item: JsonObject, place: int) -> JsonObject:
    """A `function_call` item as a message of the assistant. HostError for a namespace that is no name."""
    function = {name: item[name] for name in ("name", "arguments") if name in item}
    namespace = item.get("namespace")
    if not isinstance(namespace, str | None):
        raise invalid(f"input[{place}].namespace", "must be a string")
    if "name" in function:
        function["name"] = wire_name(namespace, function["name"])
    call = {"id": item.get("call_id"), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def wire_result(item: JsonObject, content: Any) -> JsonObject:
    """A `function_call_output` item as a message of the tool, with its output as content."""
    return {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}


def wire_reasoning(item: JsonObject) -> JsonObject:
    """A `reasoning` item as a message of the assistant; a summary without its text says nothing to a model.

    The text is in its content, or else in what this host gave out as `encrypted_content`.
    """
    parts = item.get("content") or []
    texts = [part.get("text", "") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    reasoning = "".join(text for text in texts if isinstance(text, str)) or carried_back(item.get("encrypted_content"))
    return {"role": "assistant", "content": None, "reasoning": reasoning or None}


def joined_turns(messages: list[JsonObject]) -> list[tuple[list[int], JsonObject]]:
    """Messages in which one answer's reasoning, text and calls are one turn, as they are in the wire's.

    Each with the places of the messages that are in it.
    """
    turns: list[tuple[list[int], JsonObject]] = []
    for place, message in enumerate(messages):
        if turns and _goes_on(turns[-1][1], message):
            places, turn = turns[-1]
            turns[-1] = [*places, place], _joined(turn, message)
        else:
            turns.append(([place], message))
    return [(places, turn) for places, turn in turns if not _is_empty(turn)]


def _wire_tool(placed: Placed) -> Any:
    tool = placed.tool
    if not isinstance(tool, dict):
        return tool
    if tool.get("type") != "function":
        field, kind = f"{placed.place}.type", str(tool.get("type"))[:100]
        instead = _NO_SEARCH if kind == "web_search" else "send functions"
        text = f"{field} {kind!r} is not supported by this host; {instead}."
        raise HostError(ErrorCode.UNSUPPORTED_OPTION, text, fields=[field])
    function = {name: tool[name] for name in _FUNCTION_FIELDS if tool.get(name) is not None}
    if "name" in function:
        function["name"] = wire_name(placed.namespace, function["name"])
    rest = {name: value for name, value in tool.items() if name not in _FUNCTION_FIELDS and value is not None}
    return {**rest, "function": function}


def _goes_on(turn: JsonObject, message: JsonObject) -> bool:
    """True for the next part of one answer: reasoning, then text, then calls."""
    if turn.get("role") != "assistant" or message.get("role") != "assistant":
        return False
    return _rank(turn) < _rank(message) or ("tool_calls" in turn and "tool_calls" in message)


def _rank(message: JsonObject) -> int:
    return 2 if "tool_calls" in message else 1 if message.get("content") is not None else 0


def _joined(turn: JsonObject, message: JsonObject) -> JsonObject:
    known = {name: value for name, value in message.items() if value is not None}
    calls = [*turn.get("tool_calls", []), *message.get("tool_calls", [])]
    return {**turn, **known, **({"tool_calls": calls} if calls else {})}


def _is_empty(turn: JsonObject) -> bool:
    return turn.get("role") == "assistant" and set(turn) == {"role", "content", "reasoning"} and turn["content"] is None
