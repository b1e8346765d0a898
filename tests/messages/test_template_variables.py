"""`chat_template_kwargs`: which names and values are read, which are refused, and that they reach the worker whole."""

from typing import Any

import pytest

from messages.content import PromptInput
from messages.errors import ErrorCode, HostError
from messages.requests import CountTokens, Generate, parse
from messages.template_variables import TEMPLATE_FUNCTIONS, TEMPLATE_NAMES

ASKED = [{"role": "user", "content": "hi"}]
ACTIONS = ("generate", "count_tokens")


def read(action: str, **fields: Any) -> PromptInput:
    request = parse({"action": action, "messages": ASKED, **fields})
    assert isinstance(request, Generate | CountTokens)
    return request.prompt_input


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("action", ACTIONS)
def test_variables_reach_the_worker_as_they_are(action: str) -> None:
    given = {"enable_thinking": False, "_x1": {"a": [1, 2.5, None, "é"]}, "name": ""}
    prompt = read(action, chat_template_kwargs=given)
    assert prompt.variables == given
    assert PromptInput.model_validate_json(prompt.model_dump_json()) == prompt


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("nothing", [{}, None])
def test_no_variables_are_none_of_a_bare_prompt_too(action: str, nothing: dict[str, Any] | None) -> None:
    assert read(action, chat_template_kwargs=nothing).variables == {}
    assert read(action, chat_template_kwargs=nothing, messages=None, prompt="x").variables == {}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([], "must be an object"),
        ({str(number): 1 for number in range(65)}, "must have at most 64 item(s)"),
        ({"a-b": 1}, "names must be letters, digits and '_', no digit first, at most 64 characters, and 'a-b' is not"),
        ({"": 1}, "names must be"),
        ({"1a": 1}, "names must be"),
        ({"é": 1}, "names must be"),
        ({"a" * 65: 1}, "names must be"),
        ({"a": deep(100)}, "must not be nested deeper than 100 levels"),
        ({"a": 10**400}, "must have no number beyond those of a double"),
        *(
            ({name: 1}, f"{name} is what the host itself gives to every chat template; leave it out")
            for name in sorted(TEMPLATE_NAMES | TEMPLATE_FUNCTIONS)
        ),
    ],
)
def test_what_is_wrong_with_variables_is_named(action: str, given: Any, problem: str) -> None:
    with pytest.raises(HostError) as caught:
        read(action, chat_template_kwargs=given)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0].startswith(f"chat_template_kwargs: {problem}")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_bare_prompt_has_no_template_and_so_no_variables(action: str) -> None:
    with pytest.raises(HostError) as caught:
        read(action, messages=None, prompt="x", chat_template_kwargs={"a": 1})
    assert caught.value.details["fields"] == [
        "chat_template_kwargs: want messages; a bare prompt goes to the model as it is"
    ]
