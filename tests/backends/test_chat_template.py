"""Chat templates: what they see, what they may not do, and what happens when they fail."""

import json
import time

import pytest

from backends import chat_template
from backends.chat_template import DEFAULT_TEMPLATE, ChatTemplate
from messages.content import CalledFunction, Message, TextPart, ToolCall
from messages.errors import ErrorCode, HostError
from messages.template_variables import TEMPLATE_FUNCTIONS, TEMPLATE_NAMES
from messages.tools import Function, Tool

HELLO = [Message(role="user", content='Is 1 < 2 & "so"?')]
LOOP = "{% for m in messages %}"
END = "{% endfor %}"


def _render(source: str, messages: list[Message] | None = None) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(messages or HELLO)


def _error(source: str) -> HostError:
    with pytest.raises(HostError) as caught:
        _render(source)
    return caught.value


def test_the_default_template_is_chatml_up_to_the_assistants_turn() -> None:
    messages = [Message(role="system", content="Be brief."), Message(role="user", content="Hi")]
    assert _render(DEFAULT_TEMPLATE, messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_template_sees_the_special_tokens_and_the_generation_prompt() -> None:
    assert _render("{{ bos_token }}|{{ eos_token }}|{{ add_generation_prompt }}|{{ tools is none }}") == (
        "<s>|</s>|True|True"
    )


def test_text_parts_reach_a_template_for_strings_as_one_string() -> None:
    parts = Message(role="user", content=[TextPart(type="text", text="a"), TextPart(type="text", text="b")])
    assert _render(LOOP + "{{ m.content }}" + END, [parts]) == "ab"


def test_a_template_that_prints_parts_gets_parts() -> None:
    source = LOOP + "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}" + END
    assert _render(source) == HELLO[0].content


def test_a_template_that_takes_both_gets_a_string() -> None:
    source = LOOP + "{% if m.content is string %}S{{ m.content }}{% else %}P{{ m.content[0].text }}{% endif %}" + END
    assert _render(source) == f"S{HELLO[0].content}"


def test_a_template_that_is_overwritten_with_zeros_is_refused_before_a_conversation_comes() -> None:
    with pytest.raises(HostError) as caught:
        ChatTemplate("\0" * 20, bos_token="<s>", eos_token="</s>")
    assert caught.value.code is ErrorCode.MODEL_INVALID
    assert "NUL" in caught.value.message


def test_blocks_leave_no_lines_behind_as_in_transformers() -> None:
    assert _render("{% if true %}\n  a\n  {% endif %}\nb") == "  a\nb"


def test_loop_controls_and_generation_blocks_work() -> None:
    source = (
        "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{% generation %}{{ x }}{% endgeneration %}"
    )
    assert _render(source + END) == "13"


def test_tojson_does_not_escape_html() -> None:
    assert json.loads(_render("{{ messages[0].content | tojson }}")) == HELLO[0].content
    assert "<" in _render("{{ messages | tojson(indent=2) }}")


def test_strftime_now_gives_the_date() -> None:
    assert _render("{{ strftime_now('%Y') }}").startswith("20")


def test_a_template_may_refuse_a_conversation_with_its_own_words() -> None:
    error = _error("{{ raise_exception('No system role here') }}")
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "No system role here" in error.message
    assert error.details["fields"] == ["messages: No system role here"]


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ nothing.at.all }}",
        "{% import 'os' as os %}",
        "{% include 'secrets' %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ 'a' * 10000000000 }}",
        "{{ [0] * 10000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 9) }}",
        "{{ messages * messages }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_that_fails_is_an_invalid_model(source: str) -> None:
    assert _error(source).code is ErrorCode.MODEL_INVALID


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in range(99999) %}{% for y in range(99999) %}{% set z = y %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_a_template_that_does_not_end_is_an_invalid_model(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "TIME_LIMIT_S", 0.2)
    started = time.monotonic()
    assert _error(source).code is ErrorCode.MODEL_INVALID
    assert time.monotonic() - started < 3


def test_of_a_refusal_that_repeats_what_it_was_given_the_beginning_is_told() -> None:
    with pytest.raises(HostError) as refused:
        _render("{{ raise_exception('bad ' ~ messages[0].content) }}", [Message(role="user", content="x" * 100_000)])
    assert "bad xxx" in refused.value.message
    assert len(refused.value.message) < 1000


@pytest.mark.parametrize("source", ["{{ '' }}", "{% if messages | length > 5 %}x{% endif %}"])
def test_a_template_that_leaves_nothing_of_a_conversation_refuses_it(source: str) -> None:
    error = _error(source)
    assert error.code is ErrorCode.INVALID_REQUEST
    assert "makes an empty prompt" in error.message
    assert error.details["fields"] == ["messages: make an empty prompt"]


def test_half_a_character_of_a_template_is_a_character_that_engines_take() -> None:
    assert _render("{{ '\\ud83d' }}x") == "\ufffdx"


def test_ten_thousand_messages_take_well_under_the_limit() -> None:
    started = time.monotonic()
    prompt = _render(DEFAULT_TEMPLATE, [Message(role="user", content="word " * 5)] * 10_000)
    assert prompt.count("<|im_start|>") == 10_001
    assert time.monotonic() - started < chat_template.TIME_LIMIT_S / 2


TOOL = Tool(type="function", function=Function(name="add", parameters={"type": "object", "properties": {}}))
CALL = ToolCall(id="c1", function=CalledFunction(name="add", arguments='{"a": 1}'))
CALLED = [*HELLO, Message(role="assistant", content="", reasoning="hm", tool_calls=[CALL])]
RESULT = Message(role="tool", content="5", tool_call_id="c1", name="add")


def test_a_template_sees_tools_calls_results_and_reasoning() -> None:
    source = (
        "{{ tools[0].function.name }}|{{ tools[0].function.description is defined }}|" + LOOP + "{% if m.tool_calls %}"
        "{{ m.tool_calls[0].id }} {{ m.tool_calls[0].function.arguments.a + 1 }} {{ m.reasoning_content }}{% endif %}"
        "{{ m.tool_call_id }} {{ m.name }}|" + END
    )
    rendered = ChatTemplate(source, bos_token="", eos_token="").render([*CALLED, RESULT], [TOOL])
    assert rendered == "add|False| |c1 2 hm |c1 add|"


def test_keys_without_a_value_are_left_out() -> None:
    asked = "{{ 'tool_calls' in m }} {{ 'reasoning_content' in m }} {{ 'name' in m }} "
    assert _render(LOOP + asked + END) == "False False False "


def test_a_template_that_joins_arguments_to_texts_gets_them_as_json_text() -> None:
    source = LOOP + "{% if m.tool_calls %}{{ 'json ' + m.tool_calls[0].function.arguments }}{% endif %}" + END
    assert _render(source, CALLED) == 'json {"a": 1}'


@pytest.mark.parametrize(
    ("source", "takes"),
    [
        ("{{ tools }}{{ messages[0].content }}", True),
        ("{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}", True),
        ("{{ messages[0].content }}", False),
        ("{% if tools %}{{ messages[0].content }}{% endif %}", False),
        (LOOP + "{{ m.content[0].text }}" + END + "{{ tools }}", True),
        ("{{ xml_tools }}{{ messages[0].content }}", True),
    ],
)
def test_a_template_takes_tools_if_it_prints_their_names(source: str, takes: bool) -> None:
    assert ChatTemplate(source, bos_token="", eos_token="").takes_tools is takes


def test_a_template_gets_the_variables_of_a_request_beside_its_own() -> None:
    template = ChatTemplate(
        "{{ enable_thinking }}|{{ effort.level }}|{{ names | join(',') }}|{{ bos_token }}|{{ other is defined }}",
        bos_token="<s>",
        eos_token="",
    )
    given = {"enable_thinking": False, "effort": {"level": 3}, "names": ["a", "b"], "bos_token": "mine"}
    assert template.render(HELLO, variables=given) == "False|3|a,b|<s>|False"
    given = {"effort": {}, "messages": [], "add_generation_prompt": False}
    assert template.render(HELLO, variables=given) == "|||<s>|False"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% if effort == 'high' %}{{ raise_exception('There is no high.') }}{% endif %}x", "There is no high."),
        ("{{ 1 + (effort or 1) }}", "unsupported operand"),
    ],
)
def test_variables_that_a_template_does_not_take_are_the_requests_fault(source: str, reason: str) -> None:
    template = ChatTemplate(source, bos_token="", eos_token="")
    with pytest.raises(HostError) as caught:
        template.render(HELLO, variables={"effort": "high"})
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0].startswith(f"chat_template_kwargs: {reason}")
    assert template.render(HELLO, variables={"effort": 1})


def test_a_template_that_fails_anyway_is_not_the_variables_fault() -> None:
    template = ChatTemplate("{{ raise_exception('Never.') }}", bos_token="", eos_token="")
    with pytest.raises(HostError) as caught:
        template.render(HELLO, variables={"effort": "high"})
    assert caught.value.details["fields"] == ["messages: Never."]


def test_no_request_may_replace_what_every_template_gets() -> None:
    template = ChatTemplate("x", bos_token="", eos_token="")
    assert set(template._given([], None)) == TEMPLATE_NAMES
    assert set(template._template.globals) == TEMPLATE_FUNCTIONS
