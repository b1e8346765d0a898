"""Functions in namespaces, as the responses endpoint groups them, and the names that a model knows them by.

Above it: `native_host.http.openai_tools`, `native_host.http.openai_requests` and
`native_host.http.openai_response_items`. Codex groups the tools of each MCP server so. A chat template knows functions
alone, so the namespace is in the function's name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from messages.frames import JsonObject
from messages.tools import MAX_NAME_CHARACTERS


class Placed(NamedTuple):
    """A tool of a request, with its place there and the namespace that it is in, if any."""

    place: str
    tool: Any
    namespace: str | None = None


def wire_name(namespace: object, name: object) -> Any:
    """What a model knows a function as; of a long name its end."""
    if namespace is None or not isinstance(name, str) or not name:
        return name
    return f"{namespace}__{name}"[-MAX_NAME_CHARACTERS:]


def placed_tools(tools: list[Any] | None) -> Iterator[Placed]:
    """All tools, those in namespaces among them; the first of these tells what its namespace is for."""
    for at, tool in enumerate(tools or ()):
        if not _is_namespace(tool):
            yield Placed(f"tools[{at}]", tool)
            continue
        for inner, function in enumerate(tool["tools"]):
            told = _told(tool.get("description"), function) if inner == 0 else function
            yield Placed(f"tools[{at}].tools[{inner}]", told, tool["name"])


def namespaces_of(name: object, tools: list[Any] | None) -> list[str]:
    """The namespaces that have a function of a name by which no function outside them, or in all, is known."""
    placed = [(one, one.tool.get("name")) for one in placed_tools(tools) if isinstance(one.tool, dict)]
    if any(wire_name(one.namespace, known) == name for one, known in placed):
        return []
    return [one.namespace for one, known in placed if one.namespace is not None and known == name]


def called_names(tools: list[Any] | None) -> Mapping[str, tuple[str, str]]:
    """Namespace and name of the functions in namespaces, by what a model knows them as."""
    return {
        wire_name(one.namespace, one.tool["name"]): (one.namespace, one.tool["name"])
        for one in placed_tools(tools)
        if one.namespace is not None and isinstance(one.tool, dict) and isinstance(one.tool.get("name"), str)
    }


def _is_namespace(tool: Any) -> bool:
    """Whether a tool is a group of others; one that is wrong is refused as a tool that is no function."""
    if not isinstance(tool, dict) or tool.get("type") != "namespace":
        return False
    return isinstance(tool.get("name"), str) and isinstance(tool.get("tools"), list)


def _told(description: object, function: Any) -> Any:
    if not isinstance(description, str) or not isinstance(function, dict):
        return function
    own: JsonObject = {"description": "\n".join(filter(None, (description, function.get("description"))))}
    return {**function, **own}
