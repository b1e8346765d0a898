"""Variables for the chat template, on every engine: what the model is asked, and where its reasoning begins."""

import json
from collections.abc import Iterator

import pytest
from support.planned_models import ENGINES, Model, make_model
from support.scripted_gguf import CHATML_TOOLS

from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat

BEGUN, ENDED = "<think>\n", "<think>\n\n</think>\n\n"
SWITCH = (
    "assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    f"{ENDED}{{% else %}}{BEGUN}{{% endif %}}"
    "{% if effort == 'extreme' %}{{ raise_exception('There is no extreme.') }}{% endif %}{% endif %}"
)
THINKER = CHATML_TOOLS.replace("assistant\n{% endif %}", SWITCH)
"""Begins the reasoning, as Qwen3's thinking models do, or ends it where it is switched off."""

OFF = {"enable_thinking": False}
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red"]}}, "required": ["colour"]}


@pytest.fixture(scope="module", params=ENGINES)
def thinker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = make_model(request.param, tmp_path_factory.mktemp(request.param), THINKER)
    yield model
    model.backend.close()


def test_an_answer_is_text_where_the_template_was_told_not_to_think(thinker: Model) -> None:
    thought = thinker.ask(max_tokens=20, variables={"enable_thinking": True})
    assert (bool(thought.reasoning), thought.text) == (True, "")
    said = thinker.ask(max_tokens=20, variables=OFF)
    assert (said.reasoning, bool(said.text)) == ("", True)
    assert said.end.reasoning_tokens == 0
    assert thinker.ask(max_tokens=20).reasoning == thought.reasoning


def test_a_prompt_is_counted_with_its_variables(thinker: Model) -> None:
    messages = (Message(role="user", content="hi"),)
    plain, off = (thinker.backend.count_tokens(PromptInput(messages=messages, variables=given)) for given in ({}, OFF))
    bare = [thinker.backend.count_tokens(PromptInput(prompt=text)) for text in (f"x{BEGUN}", f"x{ENDED}")]
    assert off - plain == bare[1] - bare[0] > 0


def test_variables_that_the_template_refuses_are_named(thinker: Model) -> None:
    with pytest.raises(HostError) as caught:
        thinker.ask(variables={"effort": "extreme"})
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    assert caught.value.details["fields"] == ["chat_template_kwargs: There is no extreme."]


def test_a_constraint_holds_at_once_where_the_prompt_has_ended_the_reasoning(thinker: Model) -> None:
    schema = JsonSchemaFormat(type="json_schema", json_schema={**COLOUR, "additionalProperties": False})
    answers = [
        thinker.ask(response_format=schema, seed=seed, max_tokens=60, temperature=2.0, variables=OFF)
        for seed in range(12)
    ]
    assert not any(answer.reasoning for answer in answers)
    assert all(answer.text.lstrip().startswith("{") for answer in answers)
    assert any(json.loads(answer.text)["colour"] == "red" for answer in answers if answer.text.rstrip().endswith("}"))
