"""Calls that must be made, and answers that are constrained behind reasoning, on every engine that can constrain.

The models are random, so what they say is right only because the grammar makes it so.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.planned_models import ENGINES, Model, make_model
from support.scripted_gguf import CHATML_TOOLS, write_scripted

from backends.answer.dialects import CALL_FORMS, CallForm
from backends.llamacpp.backend import LlamaCppBackend
from messages.errors import ErrorCode, HostError
from messages.facts import FinishReason
from messages.options import JsonObjectFormat, JsonSchemaFormat
from messages.tools import Function, NamedFunction, NamedTool, Tool, ToolChoice

COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
PAIR = {
    "type": "object",
    "properties": {"pair": {"$ref": "#/$defs/pair"}},
    "required": ["pair"],
    "additionalProperties": False,
    "$defs": {"pair": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}},
}
TOOLS = (
    Tool(type="function", function=Function(name="paint", parameters={**COLOUR, "additionalProperties": False})),
    Tool(type="function", function=Function(name="add.two", parameters=PAIR)),
    Tool(type="function", function=Function(name="stop")),
)


def template_of(form: CallForm) -> str:
    """A template that tells of tools, and bears a form's marks in a comment."""
    return "{# " + " ".join(form.evidence) + " #}" + CHATML_TOOLS.replace("<tool_call>", "")


@pytest.fixture(scope="module", params=ENGINES)
def hermes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = make_model(request.param, tmp_path_factory.mktemp(request.param), CHATML_TOOLS)
    yield model
    model.backend.close()


@pytest.fixture(scope="module", params=ENGINES)
def thinker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    model = make_model(request.param, tmp_path_factory.mktemp(request.param), "{# <think></think> #}" + CHATML_TOOLS)
    yield model
    model.backend.close()


def named(name: str) -> ToolChoice:
    return NamedTool(type="function", function=NamedFunction(name=name))


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_a_call_that_is_required_is_made(hermes: Model, temperature: float) -> None:
    answer = hermes.ask(tools=TOOLS, tool_choice="required", temperature=temperature)
    assert answer.text == ""
    assert len(answer.calls) == 1
    assert answer.calls[0][0] in ("paint", "add.two", "stop")
    assert answer.end.finish_reason is FinishReason.TOOL_CALLS


def test_the_function_that_is_named_is_called_with_arguments_of_its_schema(hermes: Model) -> None:
    for seed in range(3):
        ((name, arguments),) = hermes.ask(tools=TOOLS, tool_choice=named("paint"), seed=seed).calls
        assert (name, set(arguments)) == ("paint", {"colour"})
        assert arguments["colour"] in ("red", "blue")
    ((name, arguments),) = hermes.ask(tools=TOOLS, tool_choice=named("add.two")).calls
    assert (name, len(arguments["pair"])) == ("add.two", 2)
    assert hermes.ask(tools=TOOLS, tool_choice=named("stop")).calls == [("stop", {})]


@pytest.mark.parametrize(
    "form", [form for form in CALL_FORMS[1:] if form.forced], ids=lambda form: "".join(form.evidence) or "bare"
)
def test_every_form_that_grammars_can_spell_can_be_forced(form: CallForm, tmp_path: Path) -> None:
    for engine in ("llamacpp", "genai"):
        model = make_model(engine, tmp_path / engine, template_of(form))
        ((name, arguments),) = model.ask(tools=TOOLS, tool_choice=named("paint"), max_tokens=400).calls
        assert (name, arguments["colour"] in ("red", "blue")) == ("paint", True), engine
        ((name, arguments),) = model.ask(tools=TOOLS, tool_choice=named("add.two"), max_tokens=400).calls
        assert (name, len(arguments["pair"])) == ("add.two", 2), engine
        ((name, arguments),) = model.ask(tools=TOOLS, tool_choice=named("stop"), max_tokens=400).calls
        model.backend.close()
        assert (name, arguments) == ("stop", {}), engine


@pytest.mark.parametrize("engine", ["llamacpp", "genai"])
def test_a_text_without_quotes_may_be_any_up_to_its_end_mark(engine: str, tmp_path: Path) -> None:
    form = next(form for form in CALL_FORMS if form.element and form.element[1].startswith("\n"))
    model = make_model(engine, tmp_path, template_of(form))
    text: dict[str, Any] = {"type": "string"}
    schema = {"properties": {"text": text, "count": {"enum": [1, 2]}}, "required": ["count", "text"]}
    write = Tool(type="function", function=Function(name="write", parameters=schema))
    answer = model.ask(tools=(write,), tool_choice="required", max_tokens=100)
    model.backend.close()
    assert re.match(
        r"<tool_call>\n<function=write>\n<parameter=count>\n[12] ?\n</parameter>\n<parameter=text>\n", answer.text
    )
    assert answer.end.finish_reason is FinishReason.LENGTH


def test_a_call_can_be_forced_behind_a_channel_of_reasoning(tmp_path: Path) -> None:
    marks = ("<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>")
    thoughts = "<|channel|>analysis<|message|>Hm.<|end|>"
    path = write_scripted(tmp_path / "m.gguf", thoughts, template_of(CALL_FORMS[0]), control=marks)
    model = Model(LlamaCppBackend(), path)
    answer = model.ask(tools=TOOLS, tool_choice=named("paint"), temperature=0.0)
    model.backend.close()
    assert (answer.text, answer.reasoning, [name for name, _ in answer.calls]) == ("", "Hm.", ["paint"])


def test_beside_a_response_format_the_answer_is_one_call_or_of_that_format(hermes: Model) -> None:
    schema = JsonSchemaFormat(type="json_schema", json_schema={**COLOUR, "additionalProperties": False})
    answers = [hermes.ask(tools=TOOLS, response_format=schema, seed=seed, temperature=2.0) for seed in range(24)]
    whole = [answer for answer in answers if answer.end.finish_reason is not FinishReason.LENGTH]
    calls = [answer for answer in whole if answer.calls]
    texts = [answer for answer in whole if not answer.calls]
    assert calls
    assert texts
    assert all(len(answer.calls) == 1 and not answer.text for answer in calls)
    assert {answer.end.finish_reason for answer in calls} == {FinishReason.TOOL_CALLS}
    assert all(json.loads(answer.text)["colour"] in ("red", "blue") for answer in texts)
    assert {answer.end.finish_reason for answer in texts} == {FinishReason.STOP}


def test_a_call_that_is_required_is_made_whatever_the_response_format(hermes: Model) -> None:
    wanted = JsonObjectFormat(type="json_object")
    for seed in range(3):
        answer = hermes.ask(tools=TOOLS, tool_choice=named("paint"), response_format=wanted, seed=seed)
        assert ([name for name, _ in answer.calls], answer.text) == (["paint"], "")


def test_json_is_told_from_a_call_that_is_nothing_but_json(tmp_path: Path) -> None:
    form = next(form for form in CALL_FORMS if (form.forced or "").startswith('{"name"'))
    schema = JsonSchemaFormat(type="json_schema", json_schema={**COLOUR, "additionalProperties": False})
    for engine in ("llamacpp", "genai"):
        model = make_model(engine, tmp_path / engine, template_of(form))
        answers = [
            model.ask(tools=TOOLS, response_format=schema, seed=seed, temperature=2.0, max_tokens=300)
            for seed in range(24)
        ]
        model.backend.close()
        whole = [answer for answer in answers if answer.end.finish_reason is not FinishReason.LENGTH]
        assert {len(answer.calls) for answer in whole} == {0, 1}, engine
        assert all(bool(answer.calls) is not bool(answer.text) for answer in whole), engine
        assert all(answer.calls or json.loads(answer.text)["colour"] in ("red", "blue") for answer in whole), engine


UNIQUE = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 1, "maxItems": 2, "uniqueItems": True}


def test_what_a_response_format_cannot_hold_is_refused_beside_tools_too(hermes: Model) -> None:
    with pytest.raises(HostError) as caught:
        hermes.ask(tools=TOOLS, response_format=JsonSchemaFormat(type="json_schema", json_schema=UNIQUE))
    assert caught.value.code in (ErrorCode.UNSUPPORTED_OPTION, ErrorCode.INVALID_REQUEST)
    assert "uniqueItems" in caught.value.message
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0].startswith("response_format")


def test_arguments_keep_what_the_engine_knows_of_their_schema(hermes: Model) -> None:
    parameters = {"type": "object", "properties": {"of": UNIQUE}, "required": ["of"], "additionalProperties": False}
    tool = Tool(type="function", function=Function(name="pick", parameters=parameters))
    ((name, arguments),) = hermes.ask(tools=(tool,), tool_choice="required").calls
    assert name == "pick"
    assert 1 <= len(arguments["of"]) <= 2
    assert set(arguments["of"]) <= {1, 2}


def test_a_form_that_grammars_cannot_spell_does_not_go_with_a_response_format(tmp_path: Path) -> None:
    form = next(form for form in CALL_FORMS if form.forced is None)
    model = make_model("llamacpp", tmp_path, template_of(form))
    with pytest.raises(HostError) as caught:
        model.ask(tools=TOOLS, response_format=JsonObjectFormat(type="json_object"))
    model.backend.close()
    assert (caught.value.code, caught.value.details["fields"]) == (ErrorCode.UNSUPPORTED_OPTION, ["response_format"])


def test_a_form_that_grammars_cannot_spell_cannot_be_forced(tmp_path: Path) -> None:
    form = next(form for form in CALL_FORMS if form.forced is None)
    model = make_model("llamacpp", tmp_path, template_of(form))
    with pytest.raises(HostError) as caught:
        model.ask(tools=TOOLS, tool_choice="required")
    model.backend.close()
    assert (caught.value.code, caught.value.details["fields"]) == (ErrorCode.UNSUPPORTED_OPTION, ["tool_choice"])


def test_a_schema_that_cannot_be_used_is_refused_only_where_it_must_be_held(hermes: Model) -> None:
    broken = Tool(type="function", function=Function(name="f", parameters={"properties": {"a": {"$ref": "#/x/y"}}}))
    assert hermes.ask(tools=(broken,), max_tokens=5).end.output_tokens == 5
    with pytest.raises(HostError) as caught:
        hermes.ask(tools=(broken,), tool_choice="required")
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0].startswith("tools")


def test_a_model_that_may_think_is_constrained_if_it_does_not(thinker: Model) -> None:
    schema = JsonSchemaFormat(type="json_schema", json_schema={**COLOUR, "additionalProperties": False})
    answers = [thinker.ask(response_format=schema, seed=seed, max_tokens=30, temperature=2.0) for seed in range(40)]
    spoken = [answer for answer in answers if answer.end.finish_reason is FinishReason.STOP]
    assert not any(answer.reasoning for answer in spoken)
    assert spoken
    assert all(json.loads(answer.text)["colour"] in ("red", "blue") for answer in spoken)
    assert all(not answer.text for answer in answers if answer.reasoning)


@pytest.mark.parametrize("begun", [False, True])
def test_a_constraint_holds_behind_the_reasoning(begun: bool, tmp_path: Path) -> None:
    thoughts = "Red < blue? </thin\n</think>\n\n"
    template = "{# </think> #}" + CHATML_TOOLS
    if begun:
        template = template.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    path = write_scripted(tmp_path / "m.gguf", thoughts if begun else f"<think>\n{thoughts}", template)
    model = Model(LlamaCppBackend(), path)
    schema = JsonSchemaFormat(type="json_schema", json_schema={**COLOUR, "additionalProperties": False})
    answer = model.ask(response_format=schema, temperature=0.0)
    assert answer.reasoning == "Red < blue? </thin"
    assert json.loads(answer.text)["colour"] in ("red", "blue")
    called = model.ask(tools=TOOLS, tool_choice=named("paint"), temperature=0.0)
    model.backend.close()
    assert called.reasoning == answer.reasoning
    assert [name for name, _ in called.calls] == ["paint"]
