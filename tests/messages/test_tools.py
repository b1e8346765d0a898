"""Tools, the choice among them, and the calls and results that messages carry: what is read and what is refused."""

from typing import Any

import pytest

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.requests import Generate, parse

ASKED = [{"role": "user", "content": "hi"}]


def tool(name: str = "f", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **fields}}


def call(arguments: str = "{}") -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}


def read(**fields: Any) -> Generate:
    request = parse({"action": "generate", "messages": ASKED, **fields})
    assert isinstance(request, Generate)
    return request


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function: is required"),
        ({"tools": [{**tool(), "type": "code"}]}, "tools[0].type: must be 'function'"),
        ({"tools": [tool("")]}, "tools[0].function.name: must have at least 1 character(s)"),
        ({"tools": [tool("a b")]}, "tools[0].function.name: must be letters, digits, '_', '-' and '.' only"),
        ({"tools": [tool("é")]}, "tools[0].function.name: must be letters, digits, '_', '-' and '.' only"),
        ({"tools": [tool("a" * 65)]}, "tools[0].function.name: must have at most 64 character(s)"),
        (
            {"tools": [tool(parameters={"type": "string"})]},
            'tools[0].function.parameters: must be a JSON schema of type "object"',
        ),
        (
            {"tools": [tool(parameters={"properties": {"a": 1}})]},
            "tools[0].function.parameters: properties must be an object of JSON schemas",
        ),
        (
            {"tools": [tool(parameters={"required": "a"})]},
            "tools[0].function.parameters: required must be an array of strings",
        ),
        ({"tools": [tool(), tool()]}, "tools: two of them have the same name"),
        ({"tools": [tool(str(number)) for number in range(129)]}, "tools: must have at most 128 item(s)"),
        ({"tools": [tool()], "tool_choice": "always"}, "tool_choice: must be 'auto', 'none' or 'required'"),
        ({"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice.function: is required"),
        ({"tools": [tool()], "tool_choice": tool("g")}, "tool_choice: there is no tool 'g'"),
        ({"tool_choice": "required"}, "tool_choice: there are no tools to choose from"),
        ({"tools": [tool()], "messages": None, "prompt": "x"}, "tools: want messages; a bare prompt goes"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [call("not JSON")]}]},
            "messages[0].tool_calls[0].function.arguments: must be the JSON text of an object",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [call("[" * 100_000)]}]},
            "messages[0].tool_calls[0].function.arguments: must be the JSON text of an object",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [call()]}]},
            "messages[0]: tool_calls belongs to messages of the role assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "reasoning": "x"}]},
            "messages[0]: reasoning belongs to messages of the role assistant",
        ),
        (
            {"messages": [{"role": "user", "content": "x", "tool_call_id": "c1"}]},
            "messages[0]: tool_call_id belongs to messages of the role tool",
        ),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content: must be a string"),
    ],
)
def test_what_is_wrong_with_tools_and_calls_is_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(HostError) as caught:
        read(**fields)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    named = caught.value.details["fields"]
    assert isinstance(named, list)
    assert named[0].startswith(problem)


def test_calls_and_their_results_are_read_and_reach_the_worker_as_they_are() -> None:
    messages = [
        *ASKED,
        {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [call('{"a": 1}')]},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "5"},
    ]
    prompt = read(messages=messages, tools=[tool(parameters={"type": "object"})]).prompt_input
    assert PromptInput.model_validate_json(prompt.model_dump_json()) == prompt
    assert prompt.messages
    assert prompt.messages[1].content == ""
    assert prompt.messages[1].tool_calls
    assert prompt.messages[1].tool_calls[0].function.arguments == '{"a": 1}'
    assert prompt.messages[2].tool_call_id == "c1"


def test_a_model_that_must_not_call_is_not_told_of_tools() -> None:
    assert read(tools=[tool()], tool_choice="none").prompt_input.tools == ()
    assert [one.function.name for one in read(tools=[tool()]).prompt_input.tools] == ["f"]


def test_a_function_without_parameters_takes_none() -> None:
    (one,) = read(tools=[tool()]).offered_tools
    assert one.function.schema_object == {"type": "object", "properties": {}, "additionalProperties": False}
